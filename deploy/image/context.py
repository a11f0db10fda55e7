"""The build context: the files that .dockerignore lets through, as Docker's own library for Python matches them."""

from pathlib import Path

from docker.utils.build import exclude_paths


def context_files(folder: Path) -> list[Path]:
    """The files that a build of this folder sees, relative to it, in order."""
    lines = [line.strip() for line in (folder / ".dockerignore").read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    found = (Path(each) for each in exclude_paths(str(folder), patterns))
    # The library adds what the engine itself reads.
    own = {Path("Dockerfile"), Path(".dockerignore")}
    return sorted(each for each in found if (folder / each).is_file() and each not in own)

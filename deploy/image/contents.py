"""What an image holds beside its base: Python packages, and files of ours, with their sizes."""

import os
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """An installed Python package: its name, version, and the bytes of its files, compiled ones included."""

    name: str
    version: str
    size_bytes: int


def packages(root: Path) -> list[Package]:
    """The Python packages of an image's environment, the largest first."""
    (site,) = root.glob("venv/lib/python3*/site-packages")
    found = []
    for each in distributions(path=[str(site)]):
        # The same file may be listed twice, by a package that installs a script over another's.
        files = {Path(str(file.locate())) for file in each.files or ()}
        size = sum(file.stat().st_size for file in files if file.is_file())
        found.append(Package(each.metadata["Name"], each.version, size))
    return sorted(found, key=lambda package: (-package.size_bytes, package.name))


def table(root: Path) -> str:
    """What `packages` finds, as a table in Markdown, with the model and the sum of all."""
    rows = [(f"{each.name} {each.version}", each.size_bytes) for each in packages(root)]
    rows.append(("models/default", _bytes_below(root / "app/models")))
    total = _bytes_below(root / "venv") + _bytes_below(root / "app")
    lines = ["| in the image, beside its base | MB |", "|---|---|"]
    lines += [f"| {name} | {size / 1e6:.1f} |" for name, size in rows]
    return "\n".join([*lines, f"| **all of /venv and /app** | **{total / 1e6:.0f}** |"])


def _bytes_below(folder: Path) -> int:
    return sum(
        (Path(where) / name).lstat().st_size
        for where, _, names in os.walk(folder)
        for name in names
        if not (Path(where) / name).is_symlink()
    )

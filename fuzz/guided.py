"""Coverage-guided runs of a target by atheris, each in a process of its own, which libFuzzer ends.

Started by `python -m fuzz`, as `python -m fuzz.guided TARGET SEED SECONDS RUNS FOUND CORPUS ...`.
"""

import importlib
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "fuzz" / "corpus"
TARGETS = ("bodies", "connections", "texts")

MAX_INPUT_BYTES = 4096
ONE_INPUT_S = 30
"""An input that takes longer is reported like a crash."""

MAX_MEMORY_MB = 2048


def available() -> bool:
    """Whether atheris is there: it is built for Linux alone, and not for every Python."""
    return find_spec("atheris") is not None


def run_guided(target: str, *, seed: int, seconds: int, runs: int, found: Path) -> int:
    """Runs a target until so many seconds, or so many inputs, are over. Returns the exit status, 0 where all was well.

    What it learns, and what fails, is kept in the folder `found`; a failing input's name begins with `crash-`,
    `timeout-` or `oom-`.
    """
    grown = found / "corpus" / target
    grown.mkdir(parents=True, exist_ok=True)
    arguments = [target, str(seed), str(seconds), str(runs), str(found), str(grown), str(CORPUS / target)]
    command = [sys.executable, "-m", "fuzz.guided", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main(arguments: Sequence[str]) -> None:
    """The process that atheris takes over."""
    import atheris

    target, seed, seconds, runs, found, *corpora = arguments
    with atheris.instrument_imports(include=["artifact", "service", "uvicorn.protocols"]):
        check = importlib.import_module(f"fuzz.{target}").check
    options = {
        "seed": seed,
        "max_total_time": seconds,
        "runs": runs,
        "artifact_prefix": f"{found}/{target}-",
        "max_len": MAX_INPUT_BYTES,
        "timeout": ONE_INPUT_S,
        "rss_limit_mb": MAX_MEMORY_MB,
        "print_final_stats": 1,
        "verbosity": 1,
    }
    dictionary = CORPUS / f"{target}.dict"
    if dictionary.exists():
        options["dict"] = str(dictionary)
    atheris.Setup([sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), *corpora], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m fuzz`: all of the fuzzing, or parts of it, for a bounded time. Prints the seed, which repeats a run."""

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .contract import run_contract
from .guided import TARGETS, available, run_guided
from .properties import run_properties

MANY = 1_000_000_000
PARTS = (*TARGETS, "contract", "properties")


def main(arguments: Sequence[str]) -> int:
    """Returns 0 where nothing was found, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=int, default=600, help="in all, shared evenly among the parts (600)")
    parser.add_argument("--seed", type=int, default=None, help="a fresh one by default")
    parser.add_argument("--url", help="contract: a running service, instead of models/default started for it")
    parser.add_argument("--key", help="contract: the key of the service at --url")
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"), help="where failing inputs go (build/fuzz)")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"expected parts of {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    parts = options.parts or list(PARTS)
    seed = random.SystemRandom().randrange(1, 2**31) if options.seed is None else options.seed
    seconds = max(1, options.seconds // len(parts))
    found = options.found.resolve()
    found.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, {seconds} s for each of {', '.join(parts)}; failing inputs go to {found}", flush=True)

    def guided(target: str) -> int:
        if not available():
            print("skipped: atheris is not installed, which it can be on Linux alone")
            return 0
        return run_guided(target, seed=seed, seconds=seconds, runs=MANY, found=found)

    others: dict[str, Callable[[], int]] = {
        "contract": lambda: run_contract(seed=seed, seconds=seconds, found=found, url=options.url, key=options.key),
        "properties": lambda: run_properties(seed=seed, seconds=seconds),
    }
    failed = []
    for part in parts:
        print(f"\n{part} ".ljust(shutil.get_terminal_size().columns, "-"), flush=True)
        started = time.monotonic()
        status = others[part]() if part in others else guided(part)
        print(f"{part}: {'failed' if status else 'nothing found'}, {time.monotonic() - started:.0f} s", flush=True)
        if status:
            failed.append(part)
    print(f"\nseed {seed}: " + (f"FOUND in {', '.join(failed)}" if failed else "nothing found"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

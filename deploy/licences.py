"""`python -m deploy.licences`: the licences of all that the service's extras install, as pip-licenses reads them.

Ends with 1 where one is not allowed; with --check FILE also where the file does not say the same.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("cpu", "otel")
"""Those of the service that are installed where this runs; `gpu` cannot be installed beside `cpu`."""

ALLOWED = {
    *("Apache-2.0", "Apache Software License", "Apache License 2.0", "Apache 2.0"),
    *("BSD-2-Clause", "BSD-3-Clause", "BSD License", "3-Clause BSD License", "0BSD"),
    *("MIT", "MIT License", "MIT-CMU", "ISC", "ISC License (ISCL)", "Unlicense", "Zlib", "CC0-1.0"),
    *("PSF-2.0", "Python Software Foundation License"),
    # Of the file alone, and unchanged: nothing of ours has to be opened.
    *("MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)"),
}
"""What lets a closed program use, ship and host it, with notices kept."""


def required(requirements: Iterable[str]) -> list[str]:
    """The names of the packages that these requirements bring on this machine, and of what they bring in turn.

    Raises:
        PackageNotFoundError: one of them is not installed here.
    """
    seen: set[tuple[str, str]] = set()
    open_ones = [(Requirement(each), "") for each in requirements]
    while open_ones:
        requirement, extra = open_ones.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                open_ones += [(Requirement(each), wanted) for each in distribution(name).requires or ()]
    return sorted({name for name, _ in seen})


def service_packages() -> list[str]:
    """What pyproject.toml's dependencies and the service's extras install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return required([*project["dependencies"], *(each for extra in EXTRAS for each in extras.get(extra, ()))])


def refused(licence: str) -> list[str]:
    """The parts of a licence expression, or list of licences, that are not allowed; every alternative counts."""
    parts = [_bare(part.strip()) for part in re.split(r"\s+AND\s+|\s+OR\s+|\s+WITH\s+|;|,", licence)]
    return [part for part in parts if part not in ALLOWED]


def _bare(part: str) -> str:
    """Without the brackets of an expression, which are open in one part and closed in another."""
    if part.count("(") == part.count(")") and not part.startswith("("):
        return part
    return part.strip("()").strip()


def listed(names: Sequence[str]) -> list[dict[str, str]]:
    """What pip-licenses finds of these packages: Name, Version, License, URL of each."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--with-system", "--with-urls", "--format=json"]
    done = subprocess.run([*command, "--packages", *names], capture_output=True, text=True, check=True)  # noqa: S603
    found: list[dict[str, str]] = json.loads(done.stdout)
    missing = set(names) - {canonicalize_name(each["Name"]) for each in found}
    if missing:
        raise PackageNotFoundError(", ".join(sorted(missing)))
    return found


def table(found: Sequence[dict[str, str]]) -> str:
    """A page in Markdown."""
    rows = [f"| [{each['Name']}]({each['URL']}) | {each['Version']} | {each['License']} |" for each in found]
    head = (
        "# Licences of what the service installs\n\n"
        f"Made by `python -m deploy.licences`, of the extras {' and '.join(EXTRAS)} as constraints.txt pins them. A\n"
        "test compares it with what is installed, and refuses a licence that `deploy/licences.py` does not allow.\n\n"
        "| package | version | licence |\n|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Returns 0, or 1 where a licence is not allowed or the file says something else."""
    parser = argparse.ArgumentParser(prog="python -m deploy.licences", description=__doc__)
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare with this page instead of printing one")
    chosen = parser.parse_args(arguments)
    found = listed(service_packages())
    wrong = [f"{each['Name']}: {part} is not allowed" for each in found for part in refused(each["License"])]
    if chosen.check is None:
        print(table(found), end="")
    elif chosen.check.read_text() != table(found):
        wrong.append(f"{chosen.check} is out of date: python -m deploy.licences > {chosen.check}")
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

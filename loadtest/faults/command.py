"""`faults`: everything that can go wrong does, and a table says what the service made of it."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import Exit, LoadtestError
from ..promises.verdict import machine_line
from ..report import write_json
from .suite import FAULTS, Seen, chosen, run_faults

_FAKETIME = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


def add_faults_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    parser.add_argument(
        "--artifact", type=Path, default=Path("models/default"), metavar="FOLDER", help="default %(default)s"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="faults or families with this in their name"
    )
    parser.add_argument("--list", action="store_true", help="names them and does nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was seen")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    parser.add_argument(
        "--faketime",
        type=Path,
        metavar="LIBRARY",
        help="libfaketimeMT.so.1, for the clock; without it and none installed, Python's clock alone is faked",
    )


def faults(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: a service cannot be started, or a report not be written.
    """
    if parsed.list:
        print_out("\n".join(f"{fault.family}: {fault.name}: {fault.expectation}" for fault in FAULTS))
        return Exit.HELD
    wanted = chosen(parsed.only)
    found: list[Seen] = []
    interrupted = False
    try:
        for seen in run_faults(wanted, parsed.artifact, environment, parsed.faketime or _installed_faketime()):
            found.append(seen)
            word = "held" if seen.held else "BROKEN"
            say(f"[{len(found)}/{len(wanted)}] {word} {seen.fault.name}, {seen.seconds:.1f} s: {seen.seen}")
            if not seen.held:
                say(f"    afterwards: {seen.afterwards}")
    except KeyboardInterrupt:
        interrupted = True
    broken = [seen for seen in found if not seen.held]
    print_out(f"{len(found) - len(broken)} of {len(found)} faults as expected; {machine_line()}")
    for seen in broken:
        print_out(f"BROKEN {seen.fault.name}: expected {seen.fault.expectation}; seen {seen.seen}; {seen.afterwards}")
    if parsed.json is not None:
        write_json(parsed.json, {"tool": "loadtest faults", "machine": machine_line(), "faults": _as_json(found)})
    if interrupted:
        print_out(f"interrupted: {len(wanted) - len(found)} of {len(wanted)} were not tried")
        return Exit.INTERRUPTED
    if parsed.markdown is not None:
        _write(parsed.markdown, as_markdown(found, parsed.artifact))
    return Exit.BROKEN if broken else Exit.HELD


def as_markdown(found: Sequence[Seen], artifact: Path) -> str:
    """A page with a table for each family."""
    total_s = sum(seen.seconds for seen in found)
    lines = [
        "# Faults",
        "",
        "What goes wrong on purpose, over real sockets and on real processes; what must happen; and what was seen.",
        "After each the service has to be alive and ready, give a golden request the scores that it gave before",
        "(to 1e-4), and have nothing of the fault left in work, in the queue, or among its connections; or, where it",
        "had to end, be gone. No answer may be a 500 but those that a fault plants in the model. *Beside it* is a",
        "well-behaved caller whose every request must get one honest answer.",
        "",
        f"This page was written by `python -m loadtest faults --artifact {artifact} --markdown docs/faults.md`, which",
        f"takes a few minutes ({total_s:.0f} s of faults here; {machine_line()}), and ends with 1 if",
        "one does not hold. `--only NAME` runs some, `--list` names them. Faults of the model and of lanes, and lanes",
        "of a known pace, are planted in the service by `SHELFSCORE_PLANTED_FAULTS`, a setting for tests alone that",
        "says so loudly in the log, and in the metrics as `shelfscore_planted_faults`; what it may say stands in",
        "`service/planted/grammar.py`. The wall clock jumps by libfaketime where that is installed (or `--faketime`",
        "names it), else by `loadtest/peers/jumping.py`.",
    ]
    for family in dict.fromkeys(seen.fault.family for seen in found):
        lines += [
            "",
            f"## {family.capitalize()}",
            "",
            "| fault | expectation | seen | afterwards | |",
            "|---|---|---|---|---|",
        ]
        for seen in found:
            if seen.fault.family == family:
                cells = (seen.fault.name, seen.fault.expectation, seen.seen, seen.afterwards)
                word = "held" if seen.held else "**BROKEN**"
                lines.append("| " + " | ".join((*(_cell(cell) for cell in cells), word)) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _as_json(found: Sequence[Seen]) -> list[dict[str, object]]:
    return [
        {
            **{name: value for name, value in asdict(seen).items() if name != "fault"},
            "name": seen.fault.name,
            "family": seen.fault.family,
            "expectation": seen.fault.expectation,
        }
        for seen in found
    ]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LoadtestError(f"{path}: cannot be written: {error}") from None


def _installed_faketime() -> Path | None:
    return next((path for pattern in _FAKETIME for path in Path("/").glob(pattern.lstrip("/"))), None)

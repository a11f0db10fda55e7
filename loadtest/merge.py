"""`merge`: the latencies of several `slo` runs as one, by their HDR histograms."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import Exit, LoadtestError
from .histograms import SIGNIFICANT_DIGITS, UNIT, count_of, distribution_of, merged
from .measure import Distribution, Outcome
from .report import write_json

_ANSWERS_NOTHING = (Exit.INVALID.name.lower(), Exit.INTERRUPTED.name.lower())


@dataclass(frozen=True, slots=True)
class Merged:
    """One outcome of all runs."""

    count: int
    latency_ms: Distribution | None
    """Rounded as the histogram is; None of no requests."""
    histogram: str


def add_merge_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    parser.add_argument("reports", type=Path, nargs="+", metavar="JSON", help="written by `slo --json`, or by this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the merged histograms, to be merged again")


def merge(parsed: argparse.Namespace, print_out: Callable[[str], object]) -> Exit:
    """Prints and writes the runs as one.

    Raises:
        LoadtestError: a report cannot be used.
    """
    found = merge_reports(parsed.reports)
    print_out(as_text(parsed.reports, found))
    if parsed.json is not None:
        histograms = {str(outcome): one.histogram for outcome, one in found.items()}
        write_json(
            parsed.json,
            {
                "tool": "loadtest merge",
                "reports": [str(path) for path in parsed.reports],
                "histograms": {"unit": UNIT, "significant_digits": SIGNIFICANT_DIGITS, **histograms},
                "merged": {str(outcome): asdict(one) for outcome, one in found.items()},
            },
        )
    return Exit.HELD


def merge_reports(paths: Sequence[Path]) -> dict[Outcome, Merged]:
    """Each outcome of all reports.

    Raises:
        LoadtestError: naming the file that has no histograms of ours.
    """
    read = [_histograms(path) for path in paths]
    found = {}
    for outcome in Outcome:
        whole = merged(histograms[outcome] for histograms in read)
        found[outcome] = Merged(count_of(whole), distribution_of(whole), whole)
    return found


def as_text(paths: Sequence[Path], found: dict[Outcome, Merged]) -> str:
    """A few lines for people."""
    lines = [
        f"{len(paths)} runs as one: {', '.join(map(str, paths))}",
        f"  latency in ms from the scheduled time, HDR-rounded to {SIGNIFICANT_DIGITS} significant digits",
    ]
    for outcome, one in found.items():
        values = one.latency_ms
        shown = (
            ""
            if values is None
            else (
                f": p50 {values.p50:.2f}, p90 {values.p90:.2f}, p99 {values.p99:.2f}, p99.9 {values.p999:.2f}, "
                f"max {values.max:.2f}"
            )
        )
        lines.append(f"  {outcome} {one.count}{shown}")
    return "\n".join(lines)


def _histograms(path: Path) -> dict[Outcome, str]:
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LoadtestError(f"{path}: cannot be read: {error}") from None
    verdict: Any = contents.get("verdict") if isinstance(contents, dict) else None
    if isinstance(verdict, dict) and verdict.get("name") in _ANSWERS_NOTHING:
        raise LoadtestError(f"{path}: the run was {verdict['name']} and answers nothing: leave it out")
    histograms: Any = contents.get("histograms") if isinstance(contents, dict) else None
    if not isinstance(histograms, dict):
        raise LoadtestError(f"{path}: expected a report of `slo --json`, found no histograms")
    if histograms.get("unit") != UNIT:
        raise LoadtestError(f"{path}: expected histograms of {UNIT!r}, found {histograms.get('unit')!r}")
    read = {}
    for outcome in Outcome:
        try:
            count_of(histograms.get(outcome, ""))
        except ValueError as error:
            raise LoadtestError(f"{path}: histograms.{outcome}: {error}") from None
        read[outcome] = histograms[outcome]
    return read

"""`drill`: breaks what an alert is for, waits for it, asks what its runbook asks, mends it, waits for the end.

Every block of a runbook that is marked as promql must have an answer while its alert fires. Time runs faster for
Prometheus, as it does in `observe`.
"""

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import Exit, LoadtestError
from ..promises.verdict import Findings, machine_line
from .drills import DRILLS, Drill, drift_drill, shadow_drill
from .observe import SCRAPE_S, add_monitoring_options
from .prometheus import Prometheus, find_prometheus, prometheus
from .rules import hastened, read_rules
from .stage import Stage

_PROMQL = re.compile(r"^```promql\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SETTLE_S = 8.0
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Drilled:
    """What was seen of one drill; times in seconds of the run, None: it never came."""

    alert: str
    planted: str
    remedy: str
    fired_after_s: float | None
    queries: int
    """Of the runbook."""
    unanswered: Sequence[str]
    """Those of them without an answer."""
    cleared_after_s: float | None

    @property
    def held(self) -> bool:
        """Whether it fired, the runbook had its answers, and it ended."""
        return self.fired_after_s is not None and not self.unanswered and self.cleared_after_s is not None


def add_drill_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_monitoring_options(parser)
    parser.add_argument("--runbooks", type=Path, default=Path("docs/runbooks"), metavar="FOLDER")
    parser.add_argument("--other-artifact", type=Path, metavar="FOLDER", help="another model, for the shadow's drill")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="alerts with this in their name")
    parser.add_argument("--factor", type=float, default=30.0, help="by which time runs faster (default %(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")


def drill(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: a program, page or rule cannot be had, or a service does not start.
    """
    program = find_prometheus(parsed.prometheus, environment)
    rules = hastened(read_rules(parsed.rules), parsed.factor)
    every = [*DRILLS, drift_drill(), *([shadow_drill(parsed.other_artifact)] if parsed.other_artifact else [])]
    chosen = [each for each in every if not parsed.only or any(name in each.alert for name in parsed.only)]
    questions = {each.alert: read_questions(parsed.runbooks / each.page, parsed.factor) for each in chosen}
    findings = Findings("drill", [f"time {parsed.factor:g} times as fast", machine_line()])
    done = []
    with tempfile.TemporaryDirectory(prefix="loadtest-") as scratch:
        folder = Path(scratch)
        (folder / "prometheus").mkdir()
        interval_s = SCRAPE_S / parsed.factor
        with prometheus(program, folder / "prometheus", rules, interval_s, environment) as watch:
            for each in chosen:
                stage = Stage(watch, each.page.removesuffix(".md"), parsed.artifact, folder, environment)
                try:
                    done.append(run_drill(each, stage, questions[each.alert]))
                except LoadtestError as error:
                    # The other alerts are still worth their drills.
                    done.append(Drilled(each.alert, each.planted, each.remedy, None, 1, [str(error)], None))
                finally:
                    stage.close()
                say(_line(done[-1]))
    for drilled in done:
        findings.judge(drilled.alert, _line(drilled), "fires, is explained, ends", drilled.held)
    findings.raw["drills"] = [asdict(drilled) for drilled in done]
    print_out(findings.as_text())
    findings.write(parsed.json)
    if parsed.markdown is not None:
        _write(parsed.markdown, as_markdown(done, parsed.factor))
    return findings.exit


def run_drill(drilled: Drill, stage: Stage, questions: Sequence[str]) -> Drilled:
    """Breaks, waits, asks, mends, waits.

    Raises:
        LoadtestError: a service does not start.
    """
    drilled.begin(stage)
    with stage.callers(drilled.requests, drilled.rate):
        if "b" not in stage.places:
            return _play(drilled, stage, questions)
        with stage.callers(drilled.requests, drilled.rate, "b", seed=2):
            return _play(drilled, stage, questions)


def read_questions(runbook: Path, factor: float) -> list[str]:
    """The queries of a runbook, over shorter ranges as the rules'.

    Raises:
        LoadtestError: it has none.
    """
    try:
        text = runbook.read_text(encoding="utf-8")
    except OSError as error:
        raise LoadtestError(f"{runbook}: cannot be read: {error}") from None
    found = _PROMQL.findall(text)
    if not found:
        raise LoadtestError(f"{runbook}: expected blocks that begin with ```promql")
    return [hastened({"": " ".join(query.split())}, factor)[""] for query in found]


def as_markdown(done: Sequence[Drilled], factor: float) -> str:
    """The table. Times are those of the rules: what went by, times the factor."""

    def minutes(seconds: float | None) -> str:
        return "never" if seconds is None else f"{seconds * factor / 60:.1f} min"

    lines = ["| alert | planted | fired after | runbook's queries | done | ended after |", "|---|---|---|---|---|---|"]
    for each in done:
        answered = f"{each.queries - len(each.unanswered)} of {each.queries} answered"
        cells = [each.alert, each.planted, minutes(each.fired_after_s), answered]
        lines.append("| " + " | ".join([*cells, each.remedy, minutes(each.cleared_after_s)]) + " |")
    return "\n".join(lines) + "\n"


def _play(drilled: Drill, stage: Stage, questions: Sequence[str]) -> Drilled:
    began_s = time.monotonic()
    time.sleep(_SETTLE_S)
    # Strange requests are what is planted.
    planted_s = began_s if drilled.strange else time.monotonic()
    drilled.plant(stage)
    fired = _come(stage, lambda: stage.firing(drilled.alert, **drilled.labels))
    fired_after_s = time.monotonic() - planted_s if fired else None
    unanswered = [question for question in questions if not _answered(stage.watch, question)] if fired else questions
    mended_s = time.monotonic()
    drilled.mend(stage)
    ended = _come(stage, lambda: not stage.firing(drilled.alert, **drilled.labels))
    cleared_after_s = time.monotonic() - mended_s if ended else None
    return Drilled(
        drilled.alert, drilled.planted, drilled.remedy, fired_after_s, len(questions), unanswered, cleared_after_s
    )


def _come(stage: Stage, condition: Callable[[], bool]) -> bool:
    try:
        stage.wait_until("", condition, _PATIENCE_S)
    except LoadtestError:
        return False
    return True


def _answered(watch: Prometheus, question: str) -> bool:
    return bool(watch.query(question))


def _line(drilled: Drilled) -> str:
    def told(seconds: float | None) -> str:
        return "never" if seconds is None else f"after {seconds:.1f} s"

    answered = drilled.queries - len(drilled.unanswered)
    missing = f", without an answer: {'; '.join(drilled.unanswered)}" if drilled.unanswered else ""
    return (
        f"{drilled.alert} fired {told(drilled.fired_after_s)}, {answered} of {drilled.queries} queries answered"
        f"{missing}, ended {told(drilled.cleared_after_s)}"
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LoadtestError(f"{path}: cannot be written: {error}") from None

"""`observe`: a real Prometheus scrapes a live service through an hour of health, a latency fault and its end.

Time runs faster for Prometheus: the rules' windows are shorter by a factor, and so is the interval between scrapes. One
second is a scrape of 15 s at the default of 15, and four minutes are an hour.
"""

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..client import Endpoint
from ..errors import Exit, LoadtestError
from ..generator.wire import WireRequest, wire_request
from ..promises.verdict import Findings, machine_line
from ..promises.watch import read_metrics
from ..promises.workload import add_traffic_options, requests_of
from .contract import faults_of, promised, shown
from .dashboard import Panel, read_dashboard
from .picture import draw_dashboard
from .prometheus import Prometheus, Series, find_prometheus, prometheus
from .recording import SERIES, as_promtool_test
from .rules import hastened, read_rules
from .stage import Stage

ALERT = "ShelfscoreLatencyBudgetBurn"
SCRAPE_S = 15.0
"""What the rules are written for."""

_SHADOW = "candidate"
_INVALID_SHARE = 0.03
_PATIENCE_S = 60.0
_STEPS = 200


@dataclass(slots=True)
class Story:
    """When what happened, in Unix time and in seconds."""

    start_s: float = 0.0
    fault_s: float = 0.0
    fired_after_s: float | None = None
    mended_s: float = 0.0
    cleared_after_s: float | None = None
    before: list[str] = field(default_factory=list)
    """Alerts that fired when the fault was about to be planted."""


def add_observe_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    add_monitoring_options(parser)
    parser.add_argument("--dashboard", type=Path, default=Path("deploy/grafana/dashboard.json"), metavar="FILE")
    parser.add_argument(
        "--contract",
        type=Path,
        nargs="+",
        default=[Path("docs/metrics.md"), Path("docs/drift.md"), Path("docs/audit.md")],
        metavar="PAGE",
        help="their tables name the metrics",
    )
    parser.add_argument("--rate", type=float, default=15.0, help="requests a second (default %(default)s)")
    parser.add_argument("--products", type=int, default=16, help="of each request (default %(default)s)")
    parser.add_argument("--factor", type=float, default=15.0, help="by which time runs faster (default %(default)s)")
    parser.add_argument("--healthy-s", type=float, default=240.0, help="before the fault (default %(default)s)")
    parser.add_argument("--fault-s", type=float, default=40.0, help="default %(default)s")
    parser.add_argument("--fault", default="handler-sleep:80", help="as the service plants it (default %(default)s)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the dashboard, a PNG")
    parser.add_argument("--recording", type=Path, metavar="FILE", help="write the run's series as a test for promtool")
    add_traffic_options(parser)


def add_monitoring_options(parser: argparse.ArgumentParser) -> None:
    """Which service, which rules, which Prometheus."""
    parser.add_argument("--artifact", type=Path, default=Path("models/default"), metavar="FOLDER")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="of the service; may be repeated"
    )
    parser.add_argument("--rules", type=Path, default=Path("deploy/prometheus/rules"), metavar="FOLDER")
    parser.add_argument("--prometheus", type=Path, metavar="PROGRAM", help="default: the installed or unpacked one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")


def observe(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: a program, page or rule cannot be had, or the service does not start.
    """
    program = find_prometheus(parsed.prometheus, environment)
    rows, contract = read_dashboard(parsed.dashboard), promised(parsed.contract)
    rules = hastened(read_rules(parsed.rules), parsed.factor)
    conditions = [
        f"{parsed.rate:g} requests a second of {parsed.products} products, time {parsed.factor:g} times as fast, "
        f"{parsed.healthy_s:g} s of health, {parsed.fault_s:g} s of {parsed.fault}",
        machine_line(),
    ]
    findings = Findings("observe", conditions)
    with tempfile.TemporaryDirectory(prefix="loadtest-") as scratch:
        folder = Path(scratch)
        (folder / "prometheus").mkdir()
        interval_s = SCRAPE_S / parsed.factor
        with prometheus(program, folder / "prometheus", rules, interval_s, environment) as watch:
            stage = Stage(watch, "live", _linked(parsed.artifact, folder), folder, environment)
            try:
                story = _play(parsed, stage, rows, contract, findings, say)
                if parsed.picture is not None:
                    _draw(parsed, watch, rows, story)
                if parsed.recording is not None:
                    _record(parsed, watch, story)
            finally:
                stage.close()
    judge_story(findings, story, parsed.factor)
    print_out(findings.as_text())
    findings.write(parsed.json)
    return findings.exit


def judge_story(findings: Findings, story: Story, factor: float) -> None:
    """It must fire within five minutes of its time, not before the fault, and clear within ten.

    Others may fire before: slower burns see a machine that was busy when the run began.
    """
    silent = f"{ALERT} fast" not in story.before
    findings.judge("alerts before the fault", ", ".join(story.before) or "none", "not the page that is awaited", silent)
    for what, after_s, limit_min in (
        ("the latency fault pages", story.fired_after_s, 5),
        ("the page ends after the fault", story.cleared_after_s, 10),
    ):
        minutes = None if after_s is None else after_s * factor / 60
        measured = "never" if minutes is None else f"after {minutes:.1f} min ({after_s:.1f} s)"
        target = f"within {limit_min} min"
        findings.judge(what, measured, target, minutes is not None and minutes <= limit_min)


def _play(
    parsed: argparse.Namespace,
    stage: Stage,
    rows: Sequence[tuple[str, Sequence[Panel]]],
    contract: dict[str, str],
    findings: Findings,
    say: Callable[[str], object],
) -> Story:
    """The healthy hour, at whose end all is looked at; the fault; its end."""
    # All that has metrics of its own is on; the score cache is too small to answer everything.
    settings = [f"MODELS={_SHADOW}={parsed.artifact.resolve()}", f"SHADOW_MODEL={_SHADOW}", "SHADOW_RATE=0.5"]
    audit = stage.folder / "audit"
    audit.mkdir()
    settings += ["SCORE_CACHE_BYTES=500000", f"AUDIT_DIR={audit}", "AUDIT_RATE=0.5", *parsed.setting]
    server = stage.serve(*settings)
    say(f"the service is ready on {server.url}, Prometheus on {stage.watch.url}")
    story = Story()

    def requests(endpoint: Endpoint) -> list[WireRequest]:
        made = requests_of(parsed, endpoint, parsed.products, {})
        # What a caller gets wrong has its place on the dashboard too.
        return [*made, *[wire_request(endpoint, b'{"query": ""}', 0)] * round(len(made) * _INVALID_SHARE)]

    with stage.callers(requests, parsed.rate, seed=parsed.seed):
        story.start_s = time.time()
        _pass(parsed.healthy_s / 2)
        os.kill(server.pid, signal.SIGHUP)
        _pass(parsed.healthy_s / 2)
        firing = stage.watch.query('ALERTS{alertstate="firing"}')
        story.before = sorted(f"{each.labels['alertname']} {each.labels.get('burn', '')}".rstrip() for each in firing)
        there = shown(read_metrics(Endpoint.parse(server.url)))
        _check_queries(stage.watch, rows, _variables(parsed), findings)
        say(f"{parsed.fault} is planted")
        stage.serve(*settings, f"PLANTED_FAULTS={parsed.fault}")
        story.fault_s = time.time()
        story.fired_after_s = _wait(lambda: stage.firing(ALERT, burn="fast"), parsed.fault_s)
        _pass(parsed.fault_s - (time.time() - story.fault_s))
        # Some are there only while something is wrong.
        there |= shown(read_metrics(Endpoint.parse(server.url)))
        wrong = faults_of(contract, there)
        count = f"{len(contract) - len(wrong)} of {len(contract)}"
        findings.judge("metrics of the contract", "; ".join([count, *wrong]), "all there", not wrong)
        say("the fault ends")
        stage.serve(*settings)
        story.mended_s = time.time()
        story.cleared_after_s = _wait(lambda: not stage.firing(ALERT, burn="fast"), _PATIENCE_S)
        # What came after belongs to the picture.
        _pass(2 * 60 / parsed.factor)
    return story


def _check_queries(
    watch: Prometheus, rows: Sequence[tuple[str, Sequence[Panel]]], variables: Mapping[str, str], findings: Findings
) -> None:
    """Every query of every panel must have a number."""
    empty, count = [], 0
    for _, panels in rows:
        for panel in panels:
            for query in panel.queries:
                count += 1
                if not watch.query(query.filled(variables)):
                    empty.append(f"{panel.title}: {query.legend}")
    findings.judge(
        "dashboard queries", "; ".join([f"{count - len(empty)} of {count}", *empty]), "all have data", not empty
    )


def _draw(
    parsed: argparse.Namespace, watch: Prometheus, rows: Sequence[tuple[str, Sequence[Panel]]], story: Story
) -> None:
    end_s, variables = time.time(), _variables(parsed)
    step_s = (end_s - story.start_s) / _STEPS

    def read(panel: Panel) -> list[tuple[str, Series]]:
        found = []
        for query in panel.queries:
            text = query.filled(variables)
            if panel.kind == "table":
                series = watch.query(text)
            else:
                series = watch.query_range(text, story.start_s, end_s, step_s)
            found += [(query.name_of(each), each) for each in series]
        return found

    drawn = [(heading, [(panel, read(panel)) for panel in panels]) for heading, panels in rows]
    title = (
        f"The dashboard over a run of loadtest observe: {parsed.fault} from minute "
        f"{(story.fault_s - story.start_s) / 60:.1f} to {(story.mended_s - story.start_s) / 60:.1f}"
    )
    draw_dashboard(drawn, story.start_s, title, parsed.picture)


def _record(parsed: argparse.Namespace, watch: Prometheus, story: Story) -> None:
    step_s = SCRAPE_S / parsed.factor
    found = [each for name in SERIES for each in watch.query_range(name, story.start_s, time.time(), step_s)]
    text = as_promtool_test(found, story.start_s, story.fault_s, story.mended_s, step_s)
    try:
        parsed.recording.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LoadtestError(f"{parsed.recording}: cannot be written: {error}") from None


def _variables(parsed: argparse.Namespace) -> dict[str, str]:
    """What Grafana would fill in: a rate's interval is four scrapes at least."""
    rate_s = 20 * SCRAPE_S / parsed.factor
    return {"instance": ".*", "datasource": "prometheus", "__rate_interval": f"{round(rate_s * 1000)}ms"}


def _linked(artifact: Path, folder: Path) -> Path:
    link = folder / "current"
    link.symlink_to(artifact.resolve(), target_is_directory=True)
    return link


def _wait(condition: Callable[[], bool], patience_s: float) -> float | None:
    """Seconds until it holds; None: it never did."""
    started_s = time.monotonic()
    while time.monotonic() - started_s < patience_s:
        if condition():
            return time.monotonic() - started_s
        time.sleep(0.1)
    return None


def _pass(seconds: float) -> None:
    time.sleep(max(0.0, seconds))

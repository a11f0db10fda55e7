"""The open-loop comparison: equal arrivals for all, answers judged by each protocol, gates on ratios of p99."""

import json
import pickle
import sys
from pathlib import Path

import pytest

from loadtest.benchmarks.contestants import Contestant
from loadtest.benchmarks.hosting import hosted
from loadtest.benchmarks.protocols import ProductText, RerankProtocol, ScoreProtocol
from loadtest.compare.report import Gate, compare_figures, judge_compare
from loadtest.compare.turns import Entrant, JudgeBy, Schedule, Turn, take_turns, wait_idle
from loadtest.errors import Exit, LoadtestError, ServerError
from loadtest.generator.plan import OpenSample
from loadtest.generator.wire import WireAnswer
from loadtest.measure import Outcome
from loadtest.pages import render
from loadtest.traffic.requests import load_traffic

FAKE_SERVICE = Path(__file__).with_name("fake_service.py")
QUICK = (
    "--rates=20,40",
    "--rounds=1",
    "--turn-s=1",
    "--turn-warmup-s=0.2",
    "--distinct=10",
    "--products=4",
    "--warmup=2",
    "--max-lag-ms=60000",
    "--first-port=18200",
)


def command(*flags):
    return " ".join([sys.executable, str(FAKE_SERVICE), "{port}", *flags])


def contestant(name, *flags, speaks=RerankProtocol):
    argv = [sys.executable, str(FAKE_SERVICE), "{port}", *flags]
    make = RerankProtocol if speaks is RerankProtocol else lambda _: ScoreProtocol()
    return Contestant(name, argv, {}, make)


@pytest.fixture
def entrants(tmp_path):
    """Runs contestants and gives their entries."""
    held = []

    def start(*contestants):
        running = hosted(contestants, ready_timeout_s=60, request_timeout_s=60, ports=(18200, 18299), log_dir=tmp_path)
        servers = running.__enter__()
        held.append(running)
        requests = load_traffic(None, requests=12, products=5, seed=1).requests
        return [Entrant.of(c, server, requests, ProductText()) for c, server in zip(contestants, servers, strict=True)]

    yield start
    for running in held:
        running.__exit__(None, None, None)


def test_each_contestant_gets_the_same_arrivals_of_the_same_requests_in_its_own_protocol(entrants, ask):
    running = entrants(contestant("ours", speaks=ScoreProtocol), contestant("peer"))
    turns = []
    schedule = Schedule((30.0, 60.0), rounds=2, turn_s=0.8, warmup_s=0.2, timeout_s=60.0, seed=1)
    take_turns(running, schedule, turns, say=lambda _: None)
    assert [(turn.number, turn.rate, turn.name) for turn in turns] == [
        *((0, 30.0, "ours"), (0, 30.0, "peer"), (0, 60.0, "peer"), (0, 60.0, "ours")),
        *((1, 30.0, "peer"), (1, 30.0, "ours"), (1, 60.0, "ours"), (1, 60.0, "peer")),
    ]
    for number in (0, 1):
        for rate in (30.0, 60.0):
            one, other = (turn for turn in turns if (turn.number, turn.rate) == (number, rate))
            due = [sorted((sample.due_s, sample.request) for sample in turn.samples) for turn in (one, other)]
            assert due[0] == due[1] != []
            assert min(due[0])[0] >= 0.2
    assert {sample.outcome for turn in turns for sample in turn.samples} == {Outcome.ACCEPTED}
    seen = [ask(entrant.hosted.server.url, "/seen") for entrant in running]
    # Sorted: on two connections at once, a busy machine may let the later one arrive first.
    ours, peers = (sorted(asked, key=lambda one: one["query"]) for asked in seen)
    assert [one["query"] for one in ours] == [one["query"] for one in peers]
    # A server without fields gets one text of each product, which holds its title.
    titles, texts = ours[0]["texts"], peers[0]["texts"]
    assert all(title in text for title, text in zip(titles, texts, strict=True))


def test_a_peer_is_judged_by_its_own_protocol():
    judge = pickle.loads(pickle.dumps(JudgeBy(RerankProtocol(ProductText()))))

    def judged(contents, status=200, products=2):
        return judge(WireAnswer(status, json.dumps(contents).encode()), products)

    two = {"results": [{"index": 1, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.1}]}
    assert judged(two).outcome is Outcome.ACCEPTED
    assert judged(two, products=3).reason == "status 200 with another number of scores than of products"
    assert judged({"scores": [1, 2]}).reason == "status 200 without scores"
    assert judged({"results": [{"index": 0}]}).reason == "status 200 without scores"
    assert judged({}, status=503).outcome is Outcome.SHED
    assert judged({}, status=504).outcome is Outcome.LATE
    assert judged({}, status=500).reason == "status 500"


def test_a_turn_begins_when_no_server_works():
    readings = {"busy": iter([0.0, 0.2, 0.4, 0.41, 9.9]), "idle": iter([5.0] * 9)}
    pauses = []
    wait_idle([lambda: next(readings["busy"]), lambda: next(readings["idle"])], 10.0, pauses.append)
    assert len(pauses) == 3
    assert next(readings["busy"]) == 9.9


def test_a_server_that_never_rests_is_not_waited_for_for_ever():
    busy, pauses = iter(range(1000)), []
    wait_idle([lambda: float(next(busy))], 2.0, pauses.append)
    assert sum(pauses) == 2.0


def test_a_contestant_that_died_is_named_with_its_last_words(entrants):
    (entrant,) = entrants(contestant("frail", "--die-after=3"))
    schedule = Schedule((30.0,), rounds=2, turn_s=0.5, warmup_s=0.0, timeout_s=60.0, seed=1)
    with pytest.raises(ServerError, match=r"frail died with exit code 3.*giving up on purpose"):
        take_turns([entrant], schedule, [], say=lambda _: None)


def turn(name, rate, took_ms, *, number=0, outcome=Outcome.ACCEPTED, lag_ms=0.0, count=50):
    def sample(index):
        sent_s = index / rate + lag_ms / 1e3
        return OpenSample(index / rate, sent_s, index / rate + (took_ms + index / 100) / 1e3, outcome, 200)

    return Turn(name, rate, number, [sample(index) for index in range(count)], 0.5)


def verdict(turns, *gates, interrupted=False):
    return judge_compare(turns, gates, [], max_lag_ms=10.0, interrupted=interrupted)


def test_a_gate_is_judged_at_every_rate_over_all_rounds():
    turns = [turn(name, rate, ms, number=n) for n in (0, 1) for name, rate, ms in RUN]
    findings = verdict(turns, Gate("ours", "peer", 0.5))
    assert findings.exit is Exit.BROKEN
    assert [check.held for check in findings.checks] == [True, False]
    assert "0.40 (0.40 - 0.40 by round)" in findings.as_text()
    assert verdict(turns, Gate("ours", "peer", 0.61)).exit is Exit.HELD
    assert verdict(turns).exit is Exit.HELD
    assert verdict(turns, interrupted=True).exit is Exit.INTERRUPTED
    json.dumps(findings.raw, allow_nan=False)


RUN = (("ours", 5.0, 40.0), ("peer", 5.0, 100.0), ("ours", 10.0, 60.0), ("peer", 10.0, 100.0))


def test_one_that_accepts_nothing_loses_and_two_that_do_answer_nothing():
    good, refusing = turn("ours", 5.0, 40.0), turn("peer", 5.0, 1.0, outcome=Outcome.SHED)
    assert verdict([good, refusing], Gate("ours", "peer", 0.5)).exit is Exit.HELD
    assert verdict([good, refusing], Gate("peer", "ours", 2.0)).exit is Exit.BROKEN
    both = [turn("ours", 5.0, 1.0, outcome=Outcome.FAILED), refusing]
    assert verdict(both, Gate("ours", "peer", 0.5)).exit is Exit.INVALID


def test_nobody_wins_by_turning_callers_away():
    refusing = [turn("ours", 5.0, 1.0, count=97), turn("ours", 5.0, 1.0, count=3, outcome=Outcome.SHED)]
    patient = turn("peer", 5.0, 100.0)
    assert verdict([*refusing, patient], Gate("ours", "peer", 2.0)).exit is Exit.BROKEN
    seldom = [turn("ours", 5.0, 1.0, count=199), turn("ours", 5.0, 1.0, count=1, outcome=Outcome.SHED)]
    assert verdict([*seldom, patient], Gate("ours", "peer", 2.0)).exit is Exit.HELD


def test_a_turn_behind_its_schedule_or_empty_makes_the_comparison_invalid():
    assert verdict([turn("ours", 5.0, 40.0, lag_ms=11.0)]).exit is Exit.INVALID
    assert verdict([turn("ours", 5.0, 40.0, count=0)]).exit is Exit.INVALID
    assert verdict([]).exit is Exit.INVALID


def test_gates_name_two_contestants_even_with_slashes_in_their_names():
    names = ["a", "a/b", "six layers"]
    assert Gate.parse("a/b/six layers=0.5", names) == Gate("a/b", "six layers", 0.5)
    assert Gate.parse("a/a/b=2", names) == Gate("a", "a/b", 2.0)
    for wrong in ("a=1", "a/c=1", "a/a/b", "a/a/b=x", "a/a/b=-1", "a/a/b=nan"):
        with pytest.raises(LoadtestError, match="expected NAME/OTHER=X with two of a, a/b, six layers"):
            Gate.parse(wrong, names)


def test_a_comparison_has_a_page():
    turns = [turn(name, rate, ms, number=n) for n in (0, 1) for name, rate, ms in RUN]
    html = render(verdict(turns).page(compare_figures(turns)))
    assert html.count("<svg") == 4
    assert "ours: p99 at 10/s" in html
    assert compare_figures([]) == []


def test_servers_are_compared_from_the_command_line(loadtest, tmp_path):
    report, html = tmp_path / "compare.json", tmp_path / "compare.html"
    servers = (f"--command=quick={command()}", f"--command=slow={command('--delay-ms=2000')}")
    # A delay that no busy machine makes up for.
    gate = "--max-p99-ratio=quick/slow=0.9"
    done = loadtest("compare", *servers, *QUICK, gate, f"--json={report}", f"--html={html}")
    assert done.returncode == 0, done.stdout + done.stderr
    contents = json.loads(report.read_text())
    assert [(one["rate"], one["name"]) for one in contents["turns"]] == [
        *((20.0, "quick"), (20.0, "slow"), (40.0, "slow"), (40.0, "quick"))
    ]
    assert "HELD" in html.read_text()
    assert "going on without the peer" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "expected at least one --artifact NAME=FOLDER or --command NAME=COMMAND"),
        ((f"--command=a={command()}", "--max-p99-ratio=a/b=1"), "expected NAME/OTHER=X"),
        ((f"--command=a={command()}", f"--command=a={command()}"), "expected a name of its own"),
        ((f"--command=a={command()}", "--rounds=0"), "--rounds: expected 1"),
        ((f"--command=a={command()}", "--html=/nowhere/page.html"), "no such folder"),
        ((f"--command=a={command()}", "--rates=fast"), "expected rates like 5,10,20"),
        ((f"--command=a={command('--not-ready')}", "--ready-timeout=1", *QUICK), "a not ready within 1 s"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(loadtest, arguments, complaint):
    done = loadtest("compare", *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr

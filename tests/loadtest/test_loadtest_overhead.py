"""The overhead: what is not inference, with product texts that the service met before and with others."""

import json
import sys
from pathlib import Path

import pytest

from loadtest.benchmarks.contestants import by_command
from loadtest.benchmarks.hosting import hosted
from loadtest.benchmarks.observed import hits_and_lookups, read_counters
from loadtest.benchmarks.overhead import Entry, Timed, Turn, lanes_filled, make_blocks, measure_overhead
from loadtest.benchmarks.overhead_command import Targets, judge
from loadtest.client import Connection, Endpoint
from loadtest.errors import Exit, ServerError, TrafficError
from loadtest.timing import stages_ms
from loadtest.traffic.distinct import pair_key, text_key
from loadtest.traffic.requests import load_traffic, make_request

FAKE_SERVICE = Path(__file__).with_name("fake_service.py")
QUICK = ("--rounds=2", "--requests=3", "--first-port=18200")


def command(*flags):
    return " ".join([sys.executable, str(FAKE_SERVICE), "{port}", *flags])


@pytest.fixture
def host(tmp_path):
    def start(*flags):
        return hosted(
            [by_command("fake", command(*flags), {})],
            ready_path="/health/ready",
            ready_timeout_s=60,
            request_timeout_s=60,
            ports=(18200, 18299),
            log_dir=tmp_path,
        )

    return start


def blocks_of(sizes=(8, 1), rounds=2, requests=3):
    traffic = load_traffic(None, requests=60, products=8, seed=1)
    return make_blocks(traffic.requests, traffic.source, sizes=sizes, rounds=rounds, requests=requests)


def test_unseen_texts_come_once_and_seen_texts_twice_but_no_pair_does():
    blocks = blocks_of()
    assert [block.products for block in blocks] == [8, 1] * 3
    assert [len(block.unseen) for block in blocks] == [1, 1, 3, 3, 3, 3]
    unseen = [text_key(product["title"]) for block in blocks for one in block.unseen for product in one.products]
    assert len(set(unseen)) == len(unseen) == 7 * (8 + 1)
    asked = [one for block in blocks for one in (*block.unseen, *block.seen)]
    pairs = [pair_key(one.query, product) for one in asked for product in one.products]
    assert len(set(pairs)) == len(pairs)
    for block in blocks:
        assert [one.products for one in block.seen] == [one.products for one in block.unseen]


def test_too_few_titles_or_queries_are_refused():
    with pytest.raises(TrafficError, match="expected more than 27000 products of different titles"):
        blocks_of(requests=1500)
    with pytest.raises(TrafficError, match="file: expected at least 2 queries, found 1"):
        make_blocks([make_request("q", [{"title": "a"}])], "file", sizes=(1,), rounds=1, requests=1)


def test_the_servers_own_stages_are_taken_from_the_latency(host):
    said = []
    with host("--delay-ms=20", "--overhead-ms=10") as servers:
        (entry,) = measure_overhead(servers, blocks_of(), 2, said.append)
    assert [(turn.products, turn.texts) for turn in entry.turns] == [
        (products, texts) for _ in range(2) for products in (8, 1) for texts in ("unseen", "seen")
    ]
    for turn in entry.turns:
        assert len(turn.timed) == 3
        assert turn.token_hits == (1.0 if turn.texts == "seen" else 0.0)
        assert turn.client_cpu_ms > 0
        for one in turn.timed:
            assert one.inference_ms == 20
            # A timer may ring a little before its time.
            assert one.overhead_ms == one.latency_ms - 20 > 5
            assert one.overhead_share == pytest.approx(1 - 20 / one.latency_ms)
    assert len(said) == 6


def test_lanes_that_wait_for_each_other_are_not_filled():
    # Four micro-batches of 15 ms took two lanes 40 ms: 30 would have done.
    name = "shelfscore_micro_batch_duration_seconds"
    before = {f"{name}_sum": 1.0, f"{name}_count": 10.0, "shelfscore_lanes": 2.0}
    after = {f"{name}_sum": 1.06, f"{name}_count": 14.0, "shelfscore_lanes": 2.0}
    timed = [Timed(50, {"inference": 40.0, "total": 45.0})]
    assert lanes_filled(before, after, timed) == pytest.approx(0.75)
    one_batch = {**after, f"{name}_sum": 1.02, f"{name}_count": 11.0}
    assert lanes_filled(before, one_batch, timed) == pytest.approx(0.5)
    assert lanes_filled({}, {}, timed) is None


def entry_of(share, small_ms):
    turns = []
    for texts in ("unseen", "seen"):
        turns.append(Turn(64, texts, [Timed(100, {"inference": 100 * (1 - share), "total": 99})], None, None, 0.1))
        turns.append(Turn(1, texts, [Timed(10, {"inference": 10 - small_ms, "total": 9})], None, None, 0.1))
    return Entry("ours", turns)


@pytest.mark.parametrize(
    ("share", "small_ms", "code", "broken"),
    [(0.11, 1.4, Exit.HELD, 0), (0.13, 1.4, Exit.BROKEN, 2), (0.11, 1.6, Exit.BROKEN, 2), (0.13, 1.6, Exit.BROKEN, 4)],
)
def test_both_targets_must_hold_with_texts_seen_and_unseen(share, small_ms, code, broken):
    found, because = judge([entry_of(share, small_ms)], Targets(0.12, 1.5))
    assert found is code
    assert len(because) == 4
    assert sum("does not hold" in reason for reason in because) == broken


def test_the_header_is_read_and_refused_when_it_is_none():
    assert stages_ms("queue;dur=0.04, inference;dur=1.5, total;dur=2") == {"queue": 0.04, "inference": 1.5, "total": 2}
    with pytest.raises(ServerError, match="expected server-timing like"):
        stages_ms("")


def test_counters_are_read_between_two_moments(start_service):
    service = start_service()
    connection = Connection(Endpoint.parse(service.url), 30)
    body = make_request("q", [{"title": "a"}, {"title": "b"}]).body
    connection.request("POST", "/score", body)
    before = read_counters(connection)
    connection.request("POST", "/score", body)
    after = read_counters(connection)
    assert hits_and_lookups(after, before, "token") == (2, 2)
    assert hits_and_lookups(after, {}, "token") == (2, 4)
    assert before["shelfscore_lanes"] == 2
    assert hits_and_lookups({}, {}, "token") is None
    service.stop()
    assert read_counters(connection) == {}
    connection.close()


def test_the_command_measures_reports_and_judges(loadtest, tmp_path):
    fake = f"--command=ours={command('--delay-ms=5')}"
    out = tmp_path / "overhead.json"
    done = loadtest("overhead", fake, *QUICK, "--max-share=1", "--max-ms=10000", "--json", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": holds") == 4
    assert "| ours | 64 | unseen | 0% hits | " in done.stdout
    assert "| ours | 1 | seen | 100% hits | " in done.stdout
    report = json.loads(out.read_text())
    assert [len(server["turns"]) for server in report["servers"]] == [8]
    strict = loadtest("overhead", fake, *QUICK, "--max-share=0", "--max-ms=0")
    assert strict.returncode == 1
    assert strict.stdout.count("does not hold") == 4


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--die-after=2",), "ours died with exit code 3: "),
        (("--fail-every=1",), "ours answered 500"),
        (("--not-ready", "--no-such-flag"), "ours died with exit code 2 before it was ready; its last lines: "),
    ],
)
def test_a_server_that_fails_ends_the_command_in_one_line(loadtest, flags, complaint):
    done = loadtest("overhead", f"--command=ours={command(*flags)}", *QUICK)
    assert done.returncode == 2
    assert complaint in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "expected at least one --artifact"),
        (["--command=a=x {port}", "--rounds=0"], "--rounds: expected 1 to 1000, found 0"),
    ],
)
def test_impossible_options_are_refused(loadtest, options, complaint):
    done = loadtest("overhead", *options)
    assert done.returncode == 2
    assert complaint in done.stderr

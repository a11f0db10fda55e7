"""The caches: Zipf's requests, the same to each server; hits counted, gains by round, every number compared."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from loadtest.benchmarks.cache import Entry, Turn, measure_caches
from loadtest.benchmarks.cache_command import judge
from loadtest.benchmarks.contestants import by_command
from loadtest.benchmarks.hosting import hosted
from loadtest.errors import Exit, ServerError, TrafficError
from loadtest.traffic.distinct import text_key
from loadtest.traffic.requests import load_traffic, make_request
from loadtest.traffic.zipf import zipf_requests

FAKE_SERVICE = Path(__file__).with_name("fake_service.py")
QUICK = (
    *("--rounds=4", "--requests=5", "--warmup=5", "--queries=6", "--products=4", "--first-port=18200"),
    *("--churn=0.2", "--exponent=1.5"),
)
TRAFFIC = [make_request(f"query {q}", [{"title": f"product {q} {p}"} for p in range(10)]) for q in range(20)]
SCORE_CACHE = {"SHELFSCORE_SCORE_CACHE_BYTES": "1000000"}


def command(*flags):
    return " ".join([sys.executable, str(FAKE_SERVICE), "{port}", *flags])


def zipf(count=4000, **changes):
    return zipf_requests(TRAFFIC, count, "file", **{"exponent": 1.0, "churn": 0.0, "seed": 1, **changes})


def test_queries_come_as_often_as_zipf_says():
    counts = sorted(Counter(request.query for request in zipf()).values(), reverse=True)
    harmonic = sum(1 / rank for rank in range(1, 21))
    for rank in (1, 2, 5, 10):
        assert counts[rank - 1] == pytest.approx(4000 / harmonic / rank, rel=0.25)
    even = Counter(request.query for request in zipf(exponent=0.0)).values()
    assert max(even) < 1.5 * min(even)


def test_a_query_returns_with_its_list_but_for_the_churn():
    assert all(len({tuple(p["title"] for p in r.products) for r in zipf() if r.query == q.query}) == 1 for q in TRAFFIC)
    churned = zipf(churn=0.3)
    own = [
        text_key(p["title"]).startswith(r.query.replace("query", "product") + " ") for r in churned for p in r.products
    ]
    # A replacement is one of the query's own products in 1 of 20 cases, and one that is there already is not repeated.
    assert sum(own) / len(own) == pytest.approx(0.7, abs=0.05)
    assert all(len({p["title"] for p in r.products}) == len(r.products) for r in churned)


def test_equal_seeds_give_equal_requests():
    assert zipf(50, churn=0.3) == zipf(50, churn=0.3)
    assert zipf(50, churn=0.3) != zipf(50, churn=0.3, seed=2)


def test_one_query_alone_is_refused():
    with pytest.raises(TrafficError, match="file: expected at least 2 queries, found 1"):
        zipf_requests(TRAFFIC[:1], 5, "file", exponent=1.0, churn=0.0, seed=1)


@pytest.fixture
def measure(tmp_path):
    """Measures fakes, each given as (flags, environment)."""

    def run(*fakes):
        contestants = [by_command(f"fake {n}", command(*flags), env) for n, (flags, env) in enumerate(fakes)]
        settings = {"ready_timeout_s": 60, "request_timeout_s": 60, "ports": (18200, 18299), "log_dir": tmp_path}
        requests = zipf(25)
        with hosted(contestants, ready_path="/health/ready", **settings) as servers:
            rounds = [requests[start : start + 5] for start in range(5, 25, 5)]
            return measure_caches(servers, requests[:5], rounds, lambda _: None)

    return run


def test_hits_are_those_of_the_counted_rounds(measure):
    base, cached = measure(((), {}), ((), SCORE_CACHE))
    seen = {request.query for request in zipf(25)[:5]}
    expected = []
    for request in zipf(25)[5:]:
        expected.append(request.query in seen)
        seen.add(request.query)
    assert cached.hit_ratio("score") == sum(expected) / 20
    assert [cached.hit_ratio("score", slice(n, n + 1)) for n in range(4)] == [
        sum(expected[start : start + 5]) / 5 for start in range(0, 20, 5)
    ]
    assert base.hit_ratio("score") is None
    assert base.hit_ratio("token") == sum(expected) / 20


def test_a_cache_that_saves_work_shows_in_every_figure(measure):
    slow = ("--product-delay-ms=5",)
    base, cached = measure((slow, {}), (slow, SCORE_CACHE))
    for mine, theirs in zip(cached.turns, base.turns, strict=True):
        hits, lookups = mine.lookups["score"]
        assert hits > 0
        assert theirs.mean_ms > 45
        assert theirs.mean_ms - mine.mean_ms > 50 * hits / lookups - 25
        assert mine.pairs_per_s > theirs.pairs_per_s


def test_numbers_that_a_cache_changed_are_counted(measure):
    base, right, wrong = measure(((), {}), ((), SCORE_CACHE), (("--wrong-cache",), SCORE_CACHE))
    assert right.compared.numbers == 25 * 10 * 2
    assert (base.compared.different, right.compared.different) == (0, 0)
    hits = sum(turn.lookups["score"][0] for turn in wrong.turns)
    assert wrong.compared.different >= 2 * hits > 0
    assert wrong.compared.largest == pytest.approx(1e-6)


@pytest.mark.parametrize("flags", [("--short-every=7",), ("--fail-every=7",)])
def test_a_wrong_answer_ends_the_measurement(measure, flags):
    with pytest.raises(ServerError, match="fake 0"):
        measure((flags, {}))


def entry(lookups, different=0):
    made = Entry("one", [Turn([1.0], 1, 1.0, lookups)] * 4)
    made.compared.numbers, made.compared.different = 100, different
    return made


@pytest.mark.parametrize(
    ("scores", "tokens", "different", "code"),
    [
        (1, 1, 0, Exit.HELD),
        (1, 1, 1, Exit.BROKEN),
        (0, 1, 0, Exit.INVALID),
        (1, 0, 0, Exit.INVALID),
    ],
)
def test_the_verdict_needs_hits_and_equal_numbers(scores, tokens, different, code):
    base = entry({"token": (tokens, 2)})
    found, because = judge([base, entry({"score": (scores, 2)}, different), entry({})])
    assert found is code
    assert because


def test_the_command_starts_the_servers_with_their_caches_and_reports(loadtest, tmp_path):
    out = tmp_path / "cache.json"
    done = loadtest("cache", f"--command=ours={command('--product-delay-ms=1')}", *QUICK, "--json", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all are the same to the last digit") == 2
    report = json.loads(out.read_text())
    assert [server["name"] for server in report["servers"]] == [
        "ours, no score cache",
        "ours, score cache",
        "ours, no cache at all",
    ]
    base, scores, none = (server["hit_ratio"] for server in report["servers"])
    assert base["score"]["all"] is None
    assert 0 < scores["score"]["all"] < 1
    assert len(scores["score"]["quarters"]) == 4
    assert none == {"score": {"all": None, "quarters": [None] * 4}, "token": {"all": None, "quarters": [None] * 4}}


def test_the_command_says_when_a_cache_changes_a_score(loadtest):
    done = loadtest("cache", f"--command=ours={command('--wrong-cache')}", *QUICK)
    assert done.returncode == 1
    assert "differ, by 1e-06 at most" in done.stdout


def test_a_server_that_counts_no_hits_shows_nothing(loadtest):
    done = loadtest("cache", f"--command=ours={command('--no-caches')}", *QUICK)
    assert done.returncode == 3
    assert "no hit in the score and the token cache, or none that the server tells of" in done.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "expected either --artifact"),
        (["--command=a=x {port}", "--rounds=6"], "--rounds: expected a multiple of 4, found 6"),
        (["--command=a=x {port}", "--churn=2"], "--churn: expected 0 to 1"),
        (["--command=a=x {port}", "--exponent=nan"], "--exponent: expected 0 or more"),
        (["--command=a=x {port}", "--warmup=0"], "--warmup: expected 1 or more"),
        (["--command=a=x {port}", "--score-cache-bytes=0"], "--score-cache-bytes: expected 1 or more"),
    ],
)
def test_impossible_options_are_refused(loadtest, options, complaint):
    done = loadtest("cache", *options)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_synthetic_traffic_has_queries_enough():
    traffic = load_traffic(None, requests=500, products=4, seed=1)
    assert len({request.query for request in traffic.requests}) > 100

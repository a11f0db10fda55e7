"""The benchmark of split models: a setting for one contestant, requests by Zipf's law, where states came from."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from loadtest.benchmarks.bench import Plan, run_bench
from loadtest.benchmarks.contestants import Contestant, with_settings
from loadtest.benchmarks.observed import Found, Kept
from loadtest.benchmarks.protocols import ScoreProtocol
from loadtest.errors import LoadtestError
from loadtest.traffic.distinct import distinct_requests, text_key
from loadtest.traffic.requests import MAX_QUERY_CHARS, make_request
from loadtest.traffic.zipf import products_of, zipf_lists

FAKE_SERVICE = Path(__file__).with_name("fake_service.py")
QUICK = (
    "--rounds=2",
    "--requests=5",
    "--warmup=10",
    "--products=8",
    "--first-port=18200",
    "--in-flight=1,2",
    "--settle-s=0",
)
TRAFFIC = [make_request(f"query {q}", [{"title": f"product {q} {p}"} for p in range(10)]) for q in range(20)]


def command(*flags):
    return " ".join([sys.executable, str(FAKE_SERVICE), "{port}", *flags])


def fake(name, *flags, environment=None):
    argv = [sys.executable, str(FAKE_SERVICE), "{port}", *flags]
    return Contestant(name, argv, environment or {}, lambda _: ScoreProtocol())


def lists(count=20, exponent=1.0, seed=1, traffic=TRAFFIC):
    return zipf_lists(traffic, count, exponent=exponent, seed=seed)


def titles(request):
    return [product["title"] for product in request.products]


def test_few_products_are_in_most_lists_and_most_in_few():
    counts = Counter(title for request in lists(400) for title in titles(request))
    ranked = sorted(counts.values(), reverse=True)
    assert ranked[0] > 400 * 0.6
    assert ranked[100] < 400 * 0.06
    even = Counter(title for request in lists(400, exponent=0.0) for title in titles(request)).values()
    assert len(even) == len(products_of(TRAFFIC)) == 200
    assert max(even) < 2 * 20


def test_the_first_of_each_list_comes_as_often_as_zipf_says():
    firsts = Counter(titles(request)[0] for request in lists(6000)).most_common(4)
    harmonic = sum(1 / rank for rank in range(1, 201))
    for rank, (_, count) in enumerate(firsts, start=1):
        assert count == pytest.approx(6000 / harmonic / rank, rel=0.2)


def test_every_list_is_for_a_query_of_its_own_and_holds_each_product_once():
    drawn = lists(50)
    assert len({text_key(request.query) for request in drawn}) == 50
    assert [drawn[0].query, drawn[20].query, drawn[40].query] == ["query 0", "query 0 2", "query 0 3"]
    assert all(len(set(titles(request))) == 10 for request in drawn)
    assert distinct_requests(drawn, 50, "file") == drawn


def test_a_numbered_query_is_neither_one_of_the_traffics_nor_too_long():
    longest = "q" * MAX_QUERY_CHARS
    traffic = [make_request(query, [{"title": "a"}]) for query in ("mouse", "mouse", "mouse 2", longest, longest)]
    drawn = [request.query for request in lists(5, traffic=traffic)]
    assert len({text_key(query) for query in drawn}) == 5
    assert all(len(query) <= MAX_QUERY_CHARS for query in drawn)


def test_a_list_is_no_longer_than_the_catalogue():
    traffic = [make_request("mouse", [{"title": "a"}, {"title": "b"}, {"title": "A"}])]
    assert sorted(titles(lists(1, exponent=2.0, traffic=traffic)[0])) == ["A", "b"]


def test_equal_seeds_draw_equal_lists():
    assert lists() == lists()
    assert lists() != lists(seed=2)


def test_a_setting_is_that_of_its_contestant_alone():
    names = "split", "cross"
    split, cross = with_settings([fake(name) for name in names], ["split:state_cache_bytes=5", "split:LANES=a=b"])
    assert split.environment == {"SHELFSCORE_STATE_CACHE_BYTES": "5", "SHELFSCORE_LANES": "a=b"}
    assert split.settings == {"STATE_CACHE_BYTES": "5", "LANES": "a=b"}
    assert (cross.environment, cross.settings) == ({}, {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("other:LANES=1", "expected one of split, cross before the colon, found 'other'"),
        ("LANES=1", "expected NAME:SETTING=VALUE"),
        ("split:LANES", "expected NAME:SETTING=VALUE"),
        ("split:LA NES=1", "expected NAME:SETTING=VALUE"),
        ("split:PORT=1", "PORT is for the benchmark to set"),
    ],
)
def test_a_setting_for_nobody_or_of_the_benchmark_is_refused(text, complaint):
    with pytest.raises(LoadtestError, match=re.escape(complaint)):
        with_settings([fake("split"), fake("cross")], [text])


def test_shares_by_source_are_those_between_two_readings():
    name = 'shelfscore_product_states_total{source="%s"}'
    before = {name % "memory": 10.0, name % "file": 5.0}
    after = {name % "memory": 16.0, name % "file": 8.0, name % "fresh": 1.0}
    found = Found.between(after, before)
    assert found.state_shares == {"memory": 0.6, "file": 0.3, "fresh": 0.1}
    assert found.in_memory == 0.6
    twice = Found.together([found, Found({}, {"memory": 10.0})])
    assert twice.states == {"memory": 16.0, "file": 3.0, "fresh": 1.0}
    assert Found.between(after, after).in_memory is None


def test_of_a_cross_encoder_the_token_caches_hits_are_what_memory_had():
    name = 'shelfscore_cache_lookups_total{cache="token",result="%s"}'
    found = Found.between({name % "hit": 3.0, name % "miss": 1.0}, {})
    assert (found.in_memory, found.state_shares) == (0.75, {})
    assert Found.together([found, found]).lookups == {"token": (6.0, 8.0)}


def test_what_a_server_does_not_count_is_not_known():
    assert Kept.of({"shelfscore_kept_products": 3.0}) is None
    assert Kept.of({"shelfscore_kept_products": 3.0, "shelfscore_kept_bytes": 2e3}) == Kept(3, 2000)


def plan(requests, **changes):
    return Plan(1, requests, 0, 60, 60, (18200, 18299), (1,), 0.0, **changes)


def test_each_turn_says_where_the_states_of_its_products_came_from(tmp_path):
    requests = [make_request("mouse", [{"title": "a"}, {"title": "b"}]), make_request("cable", [{"title": "b"}])]
    result = run_bench([fake("split", "--split")], requests, plan(2), text=None, log_dir=tmp_path, say=str)
    (turn,) = result.entries[0].turns
    assert turn.found.states == {"memory": 1.0, "file": 0.0, "fresh": 2.0}
    assert result.entries[0].found == turn.found
    assert result.entries[0].kept == Kept(2, 2000)


@pytest.mark.parametrize(("repeat", "asked_for"), [(False, True), (True, False), (True, True)])
def test_a_score_cache_may_hit_where_pairs_repeat_and_its_settings_ask_for_it(tmp_path, repeat, asked_for):
    recalling = {"SHELFSCORE_SCORE_CACHE_BYTES": "1000000"}
    contestant = fake("recalling", environment=recalling)
    if not asked_for:
        script = f"import os, runpy, sys; os.environ.update({recalling}); sys.argv = sys.argv[1:]; "
        script += "runpy.run_path(sys.argv[0], run_name='__main__')"
        argv = [sys.executable, "-c", script, str(FAKE_SERVICE), "{port}"]
        contestant = Contestant("recalling", argv, {}, lambda _: ScoreProtocol())
    requests = [make_request("mouse", [{"title": "a"}])] * 2
    done = run_bench([contestant], requests, plan(2, pairs_repeat=repeat), text=None, log_dir=tmp_path, say=str)
    (entry,) = done.entries
    assert entry.found.hits["score"] == 0.5
    assert (entry.failure is None) == (repeat and asked_for)


def test_zipf_over_products_is_one_table_with_hits_beside_latencies(loadtest, tmp_path):
    out = tmp_path / "b.json"
    servers = [f"--command=split={command('--split', '--once')}", f"--command=cross={command('--once')}"]
    options = ["--zipf-products=1", "--set=split:STATE_CACHE_BYTES=46000", "--json", out]
    done = loadtest("bench", *servers, *QUICK, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    split, cross = report["contestants"]
    catalogue = report["catalogue"]
    assert 400 < catalogue <= 2 * 30 * 8
    assert f"a catalogue of {catalogue} products, " in done.stdout
    assert "none of them twice" in done.stdout
    assert split["settings"] == {"STATE_CACHE_BYTES": "46000"}
    assert split["kept"] == {"products": 46, "bytes": 46000}
    assert f"46 products ({46 / catalogue:.1%} of the catalogue)" in done.stdout
    assert 0.2 < split["product_states"]["memory"] < cross["cache_hits"]["token"] < 1
    assert split["product_states"]["fresh"] == pytest.approx(1 - split["product_states"]["memory"])
    for entry, in_memory in ((split, split["product_states"]["memory"]), (cross, cross["cache_hits"]["token"])):
        levels = [level["in_memory"] for level in entry["in_flight"]]
        assert sum(levels) / 2 == pytest.approx(in_memory)
        for level in levels:
            rows = [line for line in done.stdout.splitlines() if line.startswith(f"| {entry['name']} | ")]
            assert any(f"| {level:.1%} (" in row for row in rows)


def test_zipf_over_queries_repeats_pairs_and_says_how_many(loadtest, tmp_path):
    out = tmp_path / "b.json"
    options = ["--zipf=1.5", "--churn=0", "--json", out]
    done = loadtest("bench", f"--command=split={command('--split')}", *QUICK, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none of them twice" not in done.stdout
    pairs, different = map(int, re.search(r"(\d+) pairs, (\d+) of them different", done.stdout).groups())
    assert 0 < different < pairs
    assert json.loads(out.read_text())["plan"]["pairs_repeat"] is True
    assert "queries drawn by Zipf's law, exponent 1.5; 0% of a list differs" in done.stdout


def test_drawn_requests_have_a_longer_warm_up(loadtest, tmp_path):
    out = tmp_path / "b.json"
    short = [option for option in QUICK if not option.startswith("--warmup")]
    for options, warm_up in (([], 20), (["--zipf-products=1"], 200), (["--zipf=1"], 200)):
        done = loadtest("bench", f"--command=split={command('--split')}", *short, *options, "--json", out)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(out.read_text())["plan"]["warmup"] == warm_up


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--zipf=-1"], "--zipf: expected 0 to 2"),
        (["--zipf-products=nan"], "--zipf-products: expected 0 to 2"),
        (["--zipf-products=1", "--churn=0.1"], "--churn: expected --zipf with it"),
        (["--zipf=1", "--churn=2"], "--churn: expected 0 to 1"),
        (["--zipf=1", "--zipf-products=1"], "not allowed with argument"),
        (["--zipf=1", "--unseen-products"], "not allowed with argument"),
        (["--set=b:LANES=1"], "expected one of a before the colon, found 'b'"),
        (["--warmup=-1"], "--warmup: expected 0 to 100000"),
    ],
)
def test_impossible_options_are_refused(loadtest, options, complaint):
    done = loadtest("bench", "--command=a=x {port}", *options)
    assert done.returncode == 2
    assert complaint in done.stderr

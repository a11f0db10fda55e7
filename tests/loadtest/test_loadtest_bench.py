"""The benchmark: real servers, interleaved rounds, failures with their last words, nothing left running."""

import json
import os
import signal
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from loadtest.benchmarks.bench import Plan, run_bench
from loadtest.benchmarks.bench_report import Conditions, as_json, as_markdown, judge, p99_ratio, rate_ratio
from loadtest.benchmarks.bench_traffic import Chosen
from loadtest.benchmarks.closed_loop import ask_all
from loadtest.benchmarks.contestants import Contestant, infinity
from loadtest.benchmarks.protocols import ProductText, RerankProtocol, ScoreProtocol
from loadtest.client import Connection, Endpoint
from loadtest.errors import Exit, ServerError, TrafficError
from loadtest.peers.infinity import name_only
from loadtest.traffic.distinct import distinct_requests
from loadtest.traffic.novelty import introductions, unseen
from loadtest.traffic.requests import load_traffic, make_request

FAKE_SERVICE = Path(__file__).with_name("fake_service.py")
PLAN = Plan(
    rounds=3,
    requests=4,
    warmup=2,
    ready_timeout_s=60,
    request_timeout_s=60,
    ports=(18200, 18299),
    in_flight=(1, 3),
    settle_s=0.0,
)
QUICK = (
    "--rounds=2",
    "--requests=3",
    "--warmup=1",
    "--products=4",
    "--first-port=18200",
    "--in-flight=1,2",
    "--settle-s=0",
)


def fake(name, *flags, peer=False, environment=None):
    argv = [sys.executable, str(FAKE_SERVICE), "{port}", *flags]
    return Contestant(name, argv, environment or {}, RerankProtocol if peer else lambda _: ScoreProtocol(), peer=peer)


def command(*flags):
    return " ".join([sys.executable, str(FAKE_SERVICE), "{port}", *flags])


@pytest.fixture
def bench(tmp_path):
    """Runs the benchmark in this process; returns result and conditions."""

    def run(*contestants, plan=PLAN, min_ratio=None, max_p99_ratio=None, text=None):
        traffic = load_traffic(None, requests=60, products=6, seed=1)
        requests = distinct_requests(traffic.requests, plan.needed, traffic.source)
        said = []
        result = run_bench(contestants, requests, plan, text=text, log_dir=tmp_path, say=said.append)
        missing = None if any(one.peer for one in contestants) else "not wanted"
        chosen = Chosen(traffic, requests)
        return result, Conditions(chosen, plan, 0.0, 0.0, missing, min_ratio, max_p99_ratio)

    return run


def test_contestants_are_measured_round_by_round_at_each_number_in_flight(bench):
    result, conditions = bench(fake("quick"), fake("slow", "--delay-ms=40"))
    quick, slow = result.entries
    assert [(turn.number, turn.in_flight) for turn in quick.turns] == [(n, level) for n in range(3) for level in (1, 3)]
    assert [len(turn.latencies_ms) for turn in quick.turns + slow.turns] == [4] * 12
    assert all(turn.pairs == 24 for turn in quick.turns)
    assert all(turn.p50_ms > 35 for turn in slow.turns)
    assert all(turn.client_cpu_s > 0 for turn in quick.turns)
    assert quick.usage.rss_bytes > 1e6
    assert quick.usage.cpu_s > 0
    assert judge(result, conditions) == (Exit.HELD, [])
    report = as_json(result, conditions)
    levels = [level for one in report["contestants"] for level in one["in_flight"]]
    assert [(level["in_flight"], len(level["rounds"])) for level in levels] == [(1, 3), (3, 3)] * 2
    json.dumps(report, allow_nan=False)


def test_the_rate_counts_requests_that_overlap(bench):
    result, _ = bench(fake("slow", "--delay-ms=40"))
    # Four requests of 40 ms take 160 ms by one caller, and 80 by three.
    alone, together = (result.entries[0].turns_at(in_flight) for in_flight in (1, 3))
    assert all(turn.wall_s >= 0.16 for turn in alone)
    assert all(turn.wall_s < sum(turn.latencies_ms) / 1e3 for turn in together)
    assert [turn.pairs_per_s for turn in together] == [24 / turn.wall_s for turn in together]


def test_as_many_callers_ask_as_are_wanted(start_service, ask):
    service = start_service("--delay-ms=20")
    connections = [Connection(Endpoint.parse(service.url), 30) for _ in range(3)]
    bodies = [make_request(f"query {i}", [{"title": f"product {i}"}]).body for i in range(9)]
    asked = ask_all(connections, "/score", bodies)
    for connection in connections:
        connection.close()
    seen = ask(service.url, "/seen")
    assert sorted(one["query"] for one in seen) == [f"query {i}" for i in range(9)]
    assert len({one["connection"] for one in seen}) == 3
    assert max(overlaps(seen, 0.02)) == 3
    assert [json.loads(answer.reply.body)["complete"] for answer in asked.answers] == [True] * 9


def overlaps(seen, busy_s):
    return [sum(0 <= one["at_s"] - other["at_s"] < busy_s for other in seen) for one in seen]


def test_one_failing_caller_ends_all(start_service, ask):
    service = start_service("--delay-ms=5", "--fail-every=3")
    connections = [Connection(Endpoint.parse(service.url), 30) for _ in range(2)]
    bodies = [make_request("query", [{"title": "product"}]).body] * 200
    with pytest.raises(ServerError, match="answered 500"):
        ask_all(connections, "/score", bodies)
    for connection in connections:
        connection.close()
    assert len(ask(service.url, "/seen")) < 10


def test_no_contestant_is_asked_a_pair_twice(bench):
    result, _ = bench(fake("ours", "--once"), fake("peer", "--once", peer=True))
    assert [entry.failure for entry in result.entries] == [None, None]
    assert [len(entry.turns) for entry in result.entries] == [6, 6]


def test_ratios_to_the_peer_are_taken_within_each_round(bench):
    result, conditions = bench(fake("ours"), fake("peer", "--delay-ms=60", peer=True), min_ratio=1.0001)
    ours, peer = result.entries
    for in_flight in (1, 3):
        rate, p99 = rate_ratio(result, ours, in_flight), p99_ratio(result, ours, in_flight)
        both = list(zip(ours.turns_at(in_flight), peer.turns_at(in_flight), strict=True))
        assert rate.by_round == [mine.pairs_per_s / theirs.pairs_per_s for mine, theirs in both]
        assert rate.value == sorted(rate.by_round)[1]
        slowest = [max(ms for turn in entry.turns_at(in_flight) for ms in turn.latencies_ms) for entry in (ours, peer)]
        assert p99.value == slowest[0] / slowest[1] < 1
        assert rate_ratio(result, peer, in_flight) is None
    assert judge(result, conditions)[0] is Exit.HELD
    assert "times the peer's pairs/s, required 1.0001: holds" in as_markdown(result, conditions)


def test_a_round_that_the_peer_did_not_finish_is_compared_with_none(bench):
    plan = replace(PLAN, in_flight=(1,))
    result, _ = bench(fake("ours"), fake("peer", "--die-after=7", peer=True), plan=plan)
    ours, peer = result.entries
    assert (len(ours.turns), len(peer.turns)) == (3, 1)
    assert len(rate_ratio(result, ours, 1).by_round) == 1


@pytest.mark.parametrize(
    ("gates", "complaint"),
    [
        ({"min_ratio": 1e9}, "required 1e+09: does not hold"),
        ({"max_p99_ratio": 1e-9}, "at most 1e-09: does not hold"),
        ({"min_ratio": 1e-9, "max_p99_ratio": 1e-9}, "at most 1e-09: does not hold"),
    ],
)
def test_a_ratio_that_is_missed_is_said_at_each_number_in_flight(bench, gates, complaint):
    result, conditions = bench(fake("ours"), fake("peer", peer=True), **gates)
    code, because = judge(result, conditions)
    assert code is Exit.BROKEN
    assert sum(complaint in reason for reason in because) == 2
    assert len(because) == 2 * len(gates)


def test_a_hit_in_a_score_cache_spoils_the_measurement(tmp_path):
    requests = load_traffic(None, requests=1, products=4, seed=1).requests * PLAN.needed
    recalling = fake("recalling", environment={"SHELFSCORE_SCORE_CACHE_BYTES": "1000000"})
    result = run_bench([recalling, fake("computing")], requests, PLAN, text=None, log_dir=tmp_path, say=str)
    recalling, computing = result.entries
    assert recalling.failure == "answered from a score cache, though no pair was asked twice"
    assert computing.failure is None
    assert computing.found.hits == {"token": 1.0}


@pytest.mark.parametrize(
    "repeated",
    [
        [("usb c", ["cable"]), ("usb c", ["cable"])],
        [("usb c", ["cable", "charger"]), ("USB  C ", ["Charger"])],
        [("usb c", ["cable", "Cable"]), ("hdmi", ["cable"])],
    ],
)
def test_requests_with_a_pair_that_came_before_are_left_out(repeated):
    asked = [make_request(query, [{"title": title} for title in titles]) for query, titles in repeated]
    with pytest.raises(TrafficError, match="file: expected 2 requests in which no pair comes twice, found 1"):
        distinct_requests(asked, 2, "file")
    other = make_request("hdmi", [{"title": "charger"}])
    assert distinct_requests([*asked, other], 2, "file")[-1] == other


def test_both_protocols_give_scores_in_request_order(bench):
    # With the title alone both fakes read the same text, so that they must agree entirely.
    result, conditions = bench(fake("ours"), fake("peer", peer=True), text=ProductText(("title",)))
    ours, peer = result.entries
    assert ours.scores == peer.scores
    assert len(ours.scores) == 4
    report = as_json(result, conditions)
    assert report["contestants"][0]["agreement"] == {"spearman": pytest.approx(1), "same_top": 1}


def test_the_peer_gets_the_text_that_the_first_servers_template_reads(bench):
    result, _ = bench(fake("ours"), fake("peer", peer=True))
    assert result.text == ProductText(("title", "brand", "color"), {"brand": "title"})


def test_a_contestant_that_dies_drops_out_with_its_last_words(bench):
    result, conditions = bench(fake("fragile", "--die-after=7"), fake("steady"))
    fragile, steady = result.entries
    assert fragile.failure.startswith("died with exit code 3: ")
    assert fragile.last_lines == ["fake service: giving up on purpose"]
    assert len(fragile.turns) == 1
    assert len(steady.turns) == 6
    assert judge(result, conditions)[0] is Exit.CONTESTANT_FAILED
    assert "fake service: giving up on purpose" in as_markdown(result, conditions)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--no-such-flag",), "died with exit code 2 before it was ready"),
        (("--fail-every=1",), "answered 500"),
        (("--short-every=1",), "answered another number of scores than of products: 5 for 6"),
    ],
)
def test_a_contestant_that_fails_is_reported_and_the_others_go_on(bench, flags, complaint):
    plan = Plan(1, 2, 1, ready_timeout_s=60, request_timeout_s=60, ports=(18200, 18299))
    result, conditions = bench(fake("broken", *flags), fake("steady"), plan=plan)
    assert complaint in result.entries[0].failure
    assert len(result.entries[1].turns) == 2
    assert judge(result, conditions)[0] is Exit.CONTESTANT_FAILED


def test_a_contestant_that_is_never_ready_is_given_up(bench):
    plan = Plan(1, 2, 1, ready_timeout_s=1, request_timeout_s=60, ports=(18200, 18299))
    result, _ = bench(fake("cold", "--not-ready"), plan=plan)
    assert "not ready within 1 s: " in result.entries[0].failure


def test_a_program_that_is_not_there_is_reported(bench):
    result, _ = bench(Contestant("ghost", ["/no/such/program"], {}, lambda _: ScoreProtocol()))
    assert "cannot start /no/such/program" in result.entries[0].failure


def test_the_command_goes_on_without_the_peer_and_says_so(loadtest, tmp_path):
    outputs = ["--out", tmp_path / "b.md", "--json", tmp_path / "b.json"]
    names = [f"--command=old={command()}", f"--command=new={command()}"]
    done = loadtest("bench", *names, *QUICK, *outputs, "--peer-python", "/no/such/python", "--peer-model", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Measured without the peer: " in done.stdout
    assert "| old | " in done.stdout
    assert "| new | " in done.stdout
    assert (tmp_path / "b.md").read_text().strip() == done.stdout.strip()
    assert "config.json is missing" in json.loads((tmp_path / "b.json").read_text())["peer_missing"]


def test_a_gate_without_a_peer_is_not_passed(loadtest):
    done = loadtest("bench", f"--command=new={command()}", *QUICK, "--min-ratio=1.5")
    assert done.returncode == 3
    assert "cannot be judged without a peer" in done.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "expected at least one --artifact"),
        (["--artifact=nameless"], "expected NAME=FOLDER"),
        (["--artifact=a=/no/such/folder"], "expected an artifact folder with a manifest.json"),
        (["--command=a=program"], "expected {port} in the command line"),
        (["--command=a=x {port}", "--command=a=y {port}"], "expected a name of its own for each contestant"),
        (["--command=a=x {port}", "--in-flight=1,x"], "--in-flight: expected different numbers from 1 to 64"),
        (["--command=a=x {port}", "--in-flight=2,2"], "--in-flight: expected different numbers from 1 to 64"),
        (["--command=a=x {port}", "--plain=/no/such/folder"], "tokenizer.json is missing"),
        (["--command=a=x {port}", "--rounds=0"], "--rounds: expected 1 to 100000"),
        (["--command=a=x {port}", "--peer-fields=title,price"], "--peer-fields: expected some of title"),
        (["--command=a=x {port}", "--json=/no/such/folder/b.json"], "no such folder"),
    ],
)
def test_impossible_options_are_refused(loadtest, options, complaint):
    done = loadtest("bench", *options)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_ctrl_c_reports_and_leaves_nothing_running(start_loadtest):
    names = [f"--command=old={command('--delay-ms=20')}", f"--command=new={command('--delay-ms=20')}"]
    process = start_loadtest("bench", *names, "--rounds=100", "--requests=2", "--products=2", "--first-port=18200")
    line = ""
    while not line.startswith("round 1 "):
        line = process.stderr.readline()
        assert line, "the benchmark ended early"
    servers = psutil.Process(process.pid).children(recursive=True)
    assert len(servers) == 2
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "INTERRUPTED" in output
    assert "| old | " in output
    assert not any(server.is_running() for server in servers)


@pytest.fixture
def peer_python(tmp_path):
    """An interpreter that finds a package like infinity_emb, with its flaw: it passes a full path for a name."""
    package = tmp_path / "site" / "infinity_emb"
    crossencoder = package / "transformer" / "crossencoder"
    crossencoder.mkdir(parents=True)
    for folder in (package, package / "transformer", crossencoder):
        (folder / "__init__.py").touch()
    (crossencoder / "optimum.py").write_text(
        "from pathlib import Path\ndef get_onnx_files(*, model_name_or_path):\n"
        "    return Path(model_name_or_path) / 'model_quantized.onnx'\n"
    )
    (package / "cli.py").write_text(
        textwrap.dedent(
            f"""
            import runpy, sys
            from infinity_emb.transformer.crossencoder import optimum
            def cli():
                options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
                assert sys.argv[1] == "v2"
                assert options["--batch-size"] == "16"
                found = optimum.get_onnx_files(model_name_or_path=options["--model-id"])
                assert str(found) == "model_quantized.onnx", found
                sys.argv = ["fake_service.py", options["--port"], "--delay-ms", "5"]
                runpy.run_path({str(FAKE_SERVICE)!r}, run_name="__main__")
            """
        )
    )
    python = tmp_path / "peer-python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path / "site"}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


@pytest.fixture
def peer_model(tmp_path):
    folder = tmp_path / "peer model"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model_quantized.onnx"):
        (folder / name).touch()
    return folder


def test_the_peers_recipe_starts_it_on_a_local_folder(loadtest, peer_python, peer_model):
    peer = ["--peer-python", peer_python, "--peer-model", peer_model]
    done = loadtest("bench", f"--command=ours={command()}", *QUICK, *peer, "--peer-batch-size=16", "--min-ratio=0.0001")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| infinity-emb int8 | " in done.stdout
    assert "batch size 16" in done.stdout
    assert "ours at 2 in flight: " in done.stdout


def test_an_interpreter_without_the_peer_is_named(peer_model):
    found = infinity(Path(sys.executable), peer_model, dict(os.environ))
    assert found == f"{sys.executable} cannot import infinity_emb"


def test_an_interpreter_that_cannot_run_is_named(peer_model):
    found = infinity(Path("/no/such/python"), peer_model, {})
    assert "/no/such/python cannot be run" in found


def test_the_peer_is_missing_without_a_model_or_an_interpreter(tmp_path):
    assert infinity(None, tmp_path, {}) == "no --peer-python given"
    assert infinity(Path(sys.executable), None, {}) == "no --peer-model given"


def test_the_recipe_cuts_paths_to_names():
    assert name_only(lambda **_: Path("/some/folder/model.onnx"))(anything=1) == Path("model.onnx")


def test_products_are_introduced_once_and_under_another_query():
    requests = [make_request("mouse", [{"title": "a"}, {"title": "b"}]), make_request("cable", [{"title": "b"}])]
    (introduction,) = introductions(requests)
    assert [product["title"] for product in introduction.products] == ["a", "b"]
    assert introduction.query not in ("mouse", "cable")
    many = [make_request("mouse", [{"title": f"{i} {j}"} for j in range(64)]) for i in range(20)]
    introduced = [product["title"] for request in introductions(many) for product in request.products]
    assert sorted(introduced) == sorted(product["title"] for request in many for product in request.products)


def test_unseen_products_have_titles_that_no_request_has():
    requests = [make_request("mouse", [{"title": "a"}, {"title": "0 a"}])] * 2
    titles = [product["title"] for request in unseen(requests) for product in request.products]
    assert len(set(titles)) == 4
    assert not {"a", "0 a"} & set(titles)
    assert [request.query for request in unseen(requests)] == ["mouse", "mouse"]


def test_servers_of_our_contract_alone_are_introduced_to_products(tmp_path):
    traffic = load_traffic(None, requests=60, products=6, seed=1)
    requests = distinct_requests(traffic.requests, PLAN.needed, traffic.source)
    result = run_bench(
        [fake("ours", "--once"), fake("peer", "--once", peer=True)],
        requests,
        PLAN,
        text=None,
        log_dir=tmp_path,
        say=lambda _: None,
        introduction=[requests[-1]],  # which --once tells when it comes again
    )
    ours, peer = result.entries
    assert ours.failure is not None
    assert peer.failure is None


@pytest.mark.parametrize("option", ["--seen-products", "--unseen-products"])
def test_the_report_says_what_servers_had_met_of_the_products(loadtest, option):
    done = loadtest("bench", f"--command=ours={command('--once')}", option, *QUICK)
    assert done.returncode == 0, done.stdout
    assert ("had met every product before" if option == "--seen-products" else "nobody had met") in done.stdout

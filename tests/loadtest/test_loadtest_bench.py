"""The benchmark: real servers, interleaved rounds, failures with their last words, nothing left running."""

import json
import os
import signal
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from loadtest.bench import Plan, run_bench
from loadtest.bench_report import Conditions, as_json, as_markdown, judge, ratios_to_peer
from loadtest.contestants import Contestant, infinity
from loadtest.errors import Exit
from loadtest.peers.infinity import name_only
from loadtest.protocols import ProductText, RerankProtocol, ScoreProtocol
from loadtest.traffic import load_traffic

FAKE_SERVICE = Path(__file__).with_name("fake_service.py")
PLAN = Plan(rounds=3, requests=4, warmup=2, ready_timeout_s=60, request_timeout_s=60, ports=(18200, 18299))
QUICK = ("--rounds=2", "--requests=3", "--warmup=1", "--products=4", "--first-port=18200")


def fake(name, *flags, peer=False):
    argv = [sys.executable, str(FAKE_SERVICE), "{port}", *flags]
    return Contestant(name, argv, {}, RerankProtocol if peer else lambda _: ScoreProtocol(), peer=peer)


def command(*flags):
    return " ".join([sys.executable, str(FAKE_SERVICE), "{port}", *flags])


@pytest.fixture
def bench(tmp_path):
    """Runs the benchmark in this process; returns result and conditions."""

    def run(*contestants, plan=PLAN, min_ratio=None, text=None):
        traffic = load_traffic(None, requests=14, products=6, seed=1)
        said = []
        result = run_bench(contestants, traffic.requests, plan, text=text, log_dir=tmp_path, say=said.append)
        missing = None if any(one.peer for one in contestants) else "not wanted"
        return result, Conditions(traffic, plan, 0.0, 0.0, missing, min_ratio)

    return run


def test_contestants_are_measured_round_by_round(bench):
    result, conditions = bench(fake("quick"), fake("slow", "--delay-ms=40"))
    quick, slow = result.entries
    assert [len(turn.latencies_ms) for turn in quick.turns + slow.turns] == [4] * 6
    assert all(turn.pairs == 24 for turn in quick.turns)
    assert all(turn.p50_ms >= 40 for turn in slow.turns)
    assert quick.usage.rss_bytes > 1e6
    assert quick.usage.cpu_s > 0
    assert judge(result, conditions) == (Exit.HELD, [])
    report = as_json(result, conditions)
    assert [len(one["rounds"]) for one in report["contestants"]] == [3, 3]
    json.dumps(report, allow_nan=False)


def test_the_ratio_to_the_peer_is_taken_within_each_round(bench):
    result, conditions = bench(fake("ours"), fake("peer", "--delay-ms=60", peer=True), min_ratio=1.0001)
    ours, peer = result.entries
    ratios = ratios_to_peer(result, ours)
    assert ratios == [
        mine.pairs_per_s / theirs.pairs_per_s for mine, theirs in zip(ours.turns, peer.turns, strict=True)
    ]
    assert ratios_to_peer(result, peer) == []
    assert "times the peer by round" in as_markdown(result, conditions)


def test_a_ratio_that_is_missed_is_said(bench):
    result, conditions = bench(fake("ours"), fake("peer", peer=True), min_ratio=1e9)
    code, because = judge(result, conditions)
    assert code is Exit.BROKEN
    assert "required 1e+09" in because[0]


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
    assert len(steady.turns) == 3
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
    assert len(result.entries[1].turns) == 1
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
    process = start_loadtest("bench", *names, "--rounds=500", "--requests=2", "--products=2", "--first-port=18200")
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
    done = loadtest("bench", f"--command=ours={command()}", *QUICK, *peer, "--min-ratio=0.0001")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| infinity-emb int8 | " in done.stdout
    assert "ours, times the peer by round: " in done.stdout


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

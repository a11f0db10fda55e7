"""`python -m export verify`: each check passes a sound artifact and is shown one that must fail, and that alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from artifact import Calibration, ScoreHistogram
from export import ExportError
from export.__main__ import main
from export.generator import made_up_pairs
from export.peers import write_peer
from export.verification import Checks, Options, verify
from export.verification.cross_encoder import _run
from export.verification.scores import check_calibration

from .tampering import (
    copy_of,
    edit_graph,
    edit_manifest,
    entry,
    replace_file,
    replace_tokenizer,
    write_lines,
)
from .tiny import silent, write_checkpoint

ROOT = Path(__file__).parents[2]
FEW = Options(pairs=40, latency_budget_s=0)


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return copy_of(exported, tmp_path / "copy")


def failures(folder: Path, options: Options = FEW) -> dict[str, str]:
    """What failed: check -> what it said."""
    checks, _ = verify(folder, silent, options)
    return {f"{check.name} {check.variant}".strip(): str(check) for check in checks.done if check.result == "FAIL"}


def results(checks: Checks, variant: str) -> dict[str, str]:
    return {check.name: check.result for check in checks.done if check.variant == variant}


def test_a_sound_artifact_passes_every_check(
    exported: Path, checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = [{"query": q, "product": p, "target": i % 2} for i, (q, p) in enumerate(made_up_pairs(30, seed=3))]
    options = ["--pairs", "60", "--checkpoint", str(checkpoint_folder), "--json", str(tmp_path / "report.json")]
    options += ["--judged", str(write_lines(tmp_path / "judged.jsonl", judged))]
    assert main(["verify", str(exported), *options]) == 0
    printed = capsys.readouterr().out.splitlines()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    assert {check["result"] for check in report["checks"]} == {"ok"}
    assert [check["found"] in line for check in report["checks"] for line in printed].count(True) >= len(
        report["checks"]
    )
    assert printed[-1] == f"passed: {len(report['checks'])} checks"
    facts = {(check["check"], check["variant"]): check for check in report["checks"]}
    assert facts["independence", "cpu-int8"]["pairs"] == 60
    assert facts["parity", "cpu-fp32"]["against"] == "torch"
    assert facts["parity", "cpu-int8"]["against"] == "cpu-fp32"
    assert facts["parity", "cpu-int8"]["kendall_tau"] > 0.5
    assert 0 <= facts["calibration error", None]["ece"] <= 1
    cells = facts["latency", "cpu-int8"]["latency"]
    assert {(cell["pairs"], cell["tokens"]) for cell in cells} == {(b, n) for b in (1, 4, 8, 16) for n in (16, 32, 64)}
    assert all(0 < cell["median_ms"] <= cell["p95_ms"] for cell in cells)


def test_the_default_model_passes() -> None:
    assert failures(ROOT / "models" / "default") == {}


def test_pairs_come_from_a_file(exported: Path, tmp_path: Path) -> None:
    lines = [{"query": query, "product": product} for query, product in made_up_pairs(30, products=10)]
    texts = write_lines(tmp_path / "pairs.jsonl", lines)
    checks, _ = verify(exported, silent, Options(pairs=25, texts=texts, latency_budget_s=0))
    assert checks.passed
    assert {check.finding.facts["pairs"] for check in checks.done if check.name == "independence"} == {25}


def test_a_flipped_byte(folder: Path) -> None:
    path = folder / "cpu-int8.onnx"
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)
    checks, _ = verify(folder, silent, FEW)
    assert results(checks, "cpu-int8")["hash and size"] == "FAIL"
    assert results(checks, "cpu-int8")["golden pairs"] == results(checks, "cpu-int8")["latency"] == "skipped"
    assert set(results(checks, "cpu-fp32").values()) == {"ok"}


def test_a_file_cut_to_nothing(folder: Path) -> None:
    (folder / "cpu-int8.onnx").write_bytes(b"")
    found = failures(folder)
    assert "expected" in found["hash and size cpu-int8"]
    assert not any(name.startswith("golden") for name in found)


def test_pairs_of_a_file_may_hold_any_sign(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    lines = [{"query": f"lamp\0{i % 3}\0", "product": {"title": f"desk\u2028lamp {i}"}} for i in range(12)]
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n", "utf-8")
    assert not failures(folder, Options(pairs=12, texts=path, latency_budget_s=0))


def test_the_wrong_checkpoint_fails_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", max_position_embeddings=8)
    found = failures(folder, Options(pairs=40, checkpoint=other, latency_budget_s=0))
    assert list(found) == ["parity cpu-fp32"]


def test_a_missing_file(folder: Path) -> None:
    (folder / "cpu-int8.onnx").unlink()
    assert failures(folder).keys() == {"hash and size cpu-int8"}


def test_a_wrong_golden_logit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["golden_pairs"][4]["logits"]["cpu-int8"] += 0.5

    edit_manifest(folder, change)
    failed = failures(folder)
    assert failed.keys() == {"golden pairs cpu-int8"}
    assert "1 of 24 pairs miss their logit, most of all query '4k tv 55 inch': expected" in failed.popitem()[1]
    assert main(["verify", str(folder), "--pairs", "20"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("FAILED: golden pairs; 1 of ")


def test_a_missing_golden_logit(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["golden_pairs"][4]["logits"].pop("cpu-fp32"))
    assert "found none for 1 of 24" in failures(folder)["golden pairs cpu-fp32"]


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "inside"])
def test_weights_in_another_file(folder: Path, location: str) -> None:
    def change(model: onnx.ModelProto) -> None:
        tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
        (folder / "inside").write_bytes(tensor.raw_data)
        (folder.parent / "secret").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    edit_graph(folder, "cpu-fp32", change)
    failed = failures(folder)
    assert failed.keys() == {"external data cpu-fp32"}
    told = failed.popitem()[1]
    assert f"found 'words' in '{location}' (1 of " in told
    assert "tensors in other files): do not serve it" in told


def test_an_operator_that_the_runtime_does_not_bring(folder: Path) -> None:
    node = helper.make_node("Backdoor", ["logits"], ["more"], domain="evil.example")

    def change(model: onnx.ModelProto) -> None:
        branch = helper.make_graph([node], "then", [], [])
        model.graph.node.append(helper.make_node("If", ["logits"], ["x"], then_branch=branch, else_branch=branch))

    edit_graph(folder, "cpu-fp32", change)
    failed = failures(folder)
    assert "found evil.example::Backdoor" in failed["operators cpu-fp32"]


def test_an_output_of_another_name(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = model.graph.output[0].name = "score"

    edit_graph(folder, "cpu-fp32", change)
    failed = failures(folder)
    assert failed.keys() == {"graph cpu-fp32"}
    assert "-> score float (n, 1): the service cannot feed it" in failed.popitem()[1]


def test_a_file_that_is_no_model(folder: Path) -> None:
    replace_file(folder, "cpu-fp32", b"\x3a\xff\xff\xff\xff\x0f")
    failed = failures(folder)
    assert failed.keys() == {"external data cpu-fp32"}
    assert "expected an ONNX model" in failed.popitem()[1]


def test_a_graph_that_the_runtime_refuses(folder: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].op_type = "NoSuchOperator"

    edit_graph(folder, "cpu-fp32", change)
    assert "refuses the graph" in failures(folder)["graph cpu-fp32"]


def test_a_tokenizer_cut_short(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text()[:-200])
    assert failures(folder).keys() == {"tokenizer file", "vocabulary"}


def test_a_tokenizer_that_lacks_words(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: i for word, i in words.items() if i < len(words) // 2}
    replace_tokenizer(folder, json.dumps(tokenizer))
    assert failures(folder).keys() == {"golden pairs cpu-fp32", "golden pairs cpu-int8"}


def test_a_token_without_an_embedding(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["for"] += 40
    replace_tokenizer(folder, json.dumps(tokenizer))
    failed = failures(folder)
    assert failed.keys() == {"vocabulary"}
    assert "expected token ids below" in failed.popitem()[1]


def test_a_vocabulary_size_that_is_not_the_graphs(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest["tokenizer"].update(vocab_size=1000))
    assert "expected embedding tables of 1000 rows, found" in failures(folder)["vocabulary"]


def test_a_logit_that_depends_on_its_neighbours(folder: Path, checkpoint_folder: Path, tmp_path: Path) -> None:
    write_peer(checkpoint_folder, tmp_path / "peer", silent)
    replace_file(folder, "cpu-int8", (tmp_path / "peer" / "model_quantized.onnx").read_bytes())
    edit_manifest(folder, lambda manifest: entry(manifest, "cpu-int8").update(golden_tolerance=50.0))
    failed = failures(folder)
    assert failed.keys() == {"independence cpu-int8"}
    assert "a pair's logit moves by" in failed.popitem()[1]


def test_rounding_that_moves_logits_too_far(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: entry(manifest, "cpu-int8").update(golden_tolerance=1e-9))
    failed = failures(folder)
    assert failed.keys() == {"parity cpu-int8"}
    assert "against cpu-fp32: 40 pairs, RMS difference" in failed.popitem()[1]


def test_a_checkpoint_of_other_weights(exported: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", initializer_range=0.2)
    failed = failures(exported, Options(pairs=40, checkpoint=other, latency_budget_s=0))
    assert failed.keys() == {"parity cpu-fp32"}
    assert "fp32 ONNX and torch differ by" in failed.popitem()[1]


def test_a_lone_int8_variant_is_held_against_torch(folder: Path, checkpoint_folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["variants"] = [entry(manifest, "cpu-int8")]

    edit_manifest(folder, change)
    checks, _ = verify(folder, silent, FEW)
    assert [check.result for check in checks.done if check.name == "parity"] == ["skipped"]
    checks, _ = verify(folder, silent, Options(pairs=40, checkpoint=checkpoint_folder, latency_budget_s=0))
    assert checks.passed
    assert [c.finding.facts.get("against") for c in checks.done if c.name == "parity"] == [None, "torch"]


def test_a_negative_slope(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_manifest(folder, lambda manifest: manifest["calibration"].update(slope=-1.0))
    assert main(["verify", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "FAIL     manifest" in printed
    assert "at calibration.slope: Input should be greater than 0" in printed


@pytest.mark.parametrize(
    ("calibration", "counts", "message"),
    [
        (Calibration.model_construct(slope=-1.0, intercept=0.0), (1, 2), "expected a positive slope"),
        (Calibration.model_construct(slope=float("nan"), intercept=0.0), (1, 2), "expected a positive slope"),
        (Calibration(slope=1e308), (1, 2), "not in order or not finite"),
        (Calibration(), (0, 0), "expected a reference histogram"),
    ],
)
def test_a_calibration_that_gives_no_probabilities(
    calibration: Calibration, counts: tuple[int, ...], message: str
) -> None:
    histogram = ScoreHistogram(counts=counts, data="none")
    with pytest.raises(ExportError, match=message):
        check_calibration(calibration, histogram, np.array([-1.0, 0.0, 2.0]))


def test_no_reference_histogram(folder: Path) -> None:
    edit_manifest(folder, lambda manifest: manifest.update(score_histogram=None))
    assert failures(folder).keys() == {"calibration"}


def test_a_variant_of_a_gpu_is_skipped_and_never_passed_unscored(folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        gpu = {**entry(manifest, "cpu-fp32"), "name": "cuda-fp16", "device": "cuda", "precision": "fp16"}
        manifest["variants"].append(gpu)

    edit_manifest(folder, change)
    checks, _ = verify(folder, silent, FEW)
    found = results(checks, "cuda-fp16")
    assert found["hash and size"] == found["external data"] == "ok"
    scored = ("golden pairs", "parity", "independence", "latency")
    assert {found[name] for name in scored} == {"skipped"}
    assert {str(check.finding.sentence) for check in checks.done if check.result == "skipped"} == {"needs a GPU"}
    assert checks.summary().endswith(", 4 skipped")


def test_an_artifact_for_a_gpu_alone_is_checked_without_being_scored(folder: Path, checkpoint_folder: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        gpu = {**entry(manifest, "cpu-fp32"), "name": "cuda-fp16", "device": "cuda", "precision": "fp16"}
        manifest["variants"] = [gpu]

    edit_manifest(folder, change)
    checks, _ = verify(folder, silent, Options(pairs=40, checkpoint=checkpoint_folder, latency_budget_s=0))
    assert checks.passed
    assert {c.name for c in checks.done if c.result == "ok"}.isdisjoint({"calibration", "parity", "golden pairs"})


def test_a_run_that_stops_is_a_refusal() -> None:
    def stop(feeds: object) -> Any:
        raise RuntimeError("indices element out of data bounds")

    with pytest.raises(ExportError, match="ONNX Runtime stops in the graph: indices"):
        _run(stop, {})


def test_a_folder_that_is_no_artifact_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"export: {tmp_path}: expected an artifact folder with a manifest.json, found none\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json\n", "line 1: at the top: Invalid JSON"),
        ('{"query": "a", "product": {"title": "b"}}\n' * 2, "line 1: at target: Field required"),
        ('{"query": "a", "product": {}, "target": 1.5}\n', "line 1: at target: Input should be less than or equal"),
        ('{"query": "a", "product": {}, "target": 1}\n', "expected at least 2 lines, found 1"),
        ("\udcff", "expected lines of JSON in UTF-8"),
    ],
)
def test_judgements_that_cannot_be_read_are_refused_by_line(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "judged.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(["verify", str(exported), "--judged", str(path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--pairs", "1"], ["--calibration", "nowhere.jsonl"]])
def test_options_that_name_nothing_to_check_on_are_refused(
    exported: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert main(["verify", str(exported), *option]) == 2
    assert capsys.readouterr().err.startswith("export: ")


def test_checks_are_timed_by_the_clock_that_they_are_given() -> None:
    lines: list[str] = []
    checks = Checks(lines.append, iter((10.0, 12.5)).__next__)
    with checks("a check", "cpu-fp32"):
        raise ExportError("cpu-fp32: went wrong")
    assert lines == ["FAIL     a check         cpu-fp32: went wrong  [2.5 s]"]

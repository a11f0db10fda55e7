"""`python -m export compare`: two artifacts, or two variants of one, side by side."""

import json
from pathlib import Path
from typing import Any

import pytest

from artifact import Metric
from export.__main__ import main
from export.generator import made_up_pairs
from export.verification import compare
from export.verification.compare import pair_metrics
from export.verification.contestant import read_contestant

from .tampering import copy_of, edit_manifest, entry, write_lines
from .tiny import silent


def metric(name: str, value: float, data: str = "chorus", split: str = "test", size: int = 40) -> Metric:
    return Metric(name=name, value=value, low=value, high=value, data=data, split=split, variant="cpu-int8", size=size)


def test_an_artifact_agrees_with_itself(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(exported), str(exported), "--json", str(tmp_path / "report.json")]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["agreement"]["kendall_tau"] > 0.99
    assert report["agreement"]["pearson"] == pytest.approx(1)
    assert [each["difference"] for each in report["metrics"]] == [0, 0]
    assert 0 < report["speed"]["ratio_p5"] <= report["speed"]["ratio_p95"]
    assert "| architecture | cross-encoder, 2 layers, 32 wide | cross-encoder, 2 layers, 32 wide |" in printed
    assert (
        "| judgements nDCG@10, test, n = 40 | 0.8000 [0.7900, 0.8100] | 0.8000 [0.7900, 0.8100] | +0.0000 |" in printed
    )
    assert printed.splitlines()[-1].startswith("Speed: 64 pairs on one thread take A ")


def test_two_variants_of_one_artifact(exported: Path) -> None:
    report = compare(f"{exported}:cpu-fp32", f"{exported}:cpu-int8", silent)
    assert (report["a"]["variant"], report["b"]["variant"]) == ("cpu-fp32", "cpu-int8")
    assert report["a"]["size_bytes"] == report["b"]["size_bytes"]
    assert 0.5 < report["agreement"]["kendall_tau"] < 1


def test_figures_are_measured_on_judgements_that_are_given(exported: Path, tmp_path: Path) -> None:
    lines = [
        {"query": query, "product": product, "target": i % 3 / 2}
        for i, (query, product) in enumerate(made_up_pairs(60, products=10))
    ]
    judged = write_lines(tmp_path / "judged.jsonl", lines)
    said: list[str] = []
    report = compare(str(exported), str(exported), said.append, texts=judged_texts(judged), judged=judged)
    assert report["judged"].keys() == {"nDCG@10", "AUC of targets >= 0.5", "ECE"}
    assert all(each["a"] == each["b"] for each in report["judged"].values())
    assert report["agreement"]["pairs"] == 60
    assert "| on 60 judged pairs | A | B | B - A |" in said


def judged_texts(judged: Path) -> Path:
    lines = [json.loads(line) for line in judged.read_text().splitlines()]
    return write_lines(
        judged.parent / "pairs.jsonl", [{key: line[key] for key in ("query", "product")} for line in lines]
    )


def test_figures_that_need_both_kinds_of_judgement_are_left_out(exported: Path, tmp_path: Path) -> None:
    lines = [{"query": query, "product": product, "target": 1} for query, product in made_up_pairs(20)]
    judged = write_lines(tmp_path / "judged.jsonl", lines)
    assert compare(str(exported), str(exported), silent, judged=judged)["judged"].keys() == {"ECE"}


def test_metrics_of_other_data_are_marked_as_not_comparable() -> None:
    first = [metric("nDCG@10", 0.8), metric("AUC", 0.7, "esci"), metric("ECE", 0.1), metric("MRR", 0.5)]
    second = [metric("AUC", 0.9, "shop"), metric("nDCG@10", 0.9), metric("ECE", 0.2, size=30)]
    rows = {row.name: row for row in pair_metrics(first, second)}
    assert rows.keys() == {"nDCG@10", "AUC", "ECE"}
    assert rows["nDCG@10"].cells[-1] == "+0.1000"
    assert rows["AUC"].cells[-1] == "not comparable: B on shop, test"
    assert rows["ECE"].cells[-1] == "not comparable: B over 30"
    assert rows["AUC"].as_dict()["difference"] is None


def test_an_artifact_that_was_never_evaluated_says_so(exported: Path, tmp_path: Path) -> None:
    folder = copy_of(exported, tmp_path / "copy")
    edit_manifest(folder, lambda manifest: manifest.update(evaluation=[]))
    said: list[str] = []
    assert compare(str(exported), str(folder), said.append)["metrics"] == []
    assert "No metric stands in both manifests." in said


def test_fp32_is_compared_where_there_is_no_int8(exported: Path, tmp_path: Path) -> None:
    folder = copy_of(exported, tmp_path / "copy")
    edit_manifest(folder, lambda manifest: manifest.update(variants=[entry(manifest, "cpu-fp32")]))
    assert read_contestant(str(folder)).variant.name == "cpu-fp32"


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("export: ")
    assert error.count("\n") == 1
    return error


def test_what_cannot_be_read_is_refused_in_one_sentence(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, nowhere = str(exported), str(tmp_path / "nowhere")
    assert "nowhere: expected an artifact folder" in refused([good, nowhere], capsys)
    assert "nowhere: expected an artifact folder" in refused([f"{nowhere}:cpu-int8", good], capsys)
    assert "expected a variant 'cpu-fp16'; it has cpu-fp32, cpu-int8" in refused([good, f"{good}:cpu-fp16"], capsys)
    assert "No such file" in refused([good, good, "--pairs", nowhere], capsys)


def test_variants_of_a_gpu_are_refused(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["variants"] = [{**entry(manifest, "cpu-fp32"), "name": "cuda-fp16", "device": "cuda"}]

    folder = copy_of(exported, tmp_path / "copy")
    edit_manifest(folder, change)
    assert "expected a variant of the CPU, found none" in refused([str(folder), str(exported)], capsys)
    assert "cuda-fp16 needs a GPU" in refused([f"{folder}:cuda-fp16", str(exported)], capsys)

"""The whole export on a tiny real model, with the real runtime."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import export.attention
import export.faithful
import export.schemes
from artifact import load_artifact
from export import ExportError, StudentExport, export_plain, export_student
from export.checkpoint import load_checkpoint
from export.generator import made_up_pairs
from export.golden import GOLDEN_PAIRS
from export.runtime import EncodedPairs, logits_of, open_session, scorer

from .tiny import LINEAGE, TEMPLATE, Figure, silent, write_checkpoint


def folder_digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_the_artifact_verifies_and_carries_what_was_planned(exported: Path) -> None:
    manifest = load_artifact(exported).manifest
    assert [variant.name for variant in manifest.variants] == ["cpu-fp32", "cpu-int8"]
    assert (manifest.layers, manifest.hidden_size, manifest.template) == (2, 32, TEMPLATE)
    assert manifest.lineage == LINEAGE
    assert {metric.variant for metric in manifest.evaluation} == {"cpu-fp32", "cpu-int8"}
    assert manifest.score_histogram is not None
    assert sum(manifest.score_histogram.counts) == 140
    assert manifest.input_reference is not None
    assert manifest.input_reference.signals["product_tokens"].inputs == 140


def test_fp32_gives_the_logits_that_torch_gives(exported: Path, checkpoint_folder: Path) -> None:
    artifact = load_artifact(exported)
    pairs = EncodedPairs(artifact.tokenizer, made_up_pairs(50, seed=11))
    run = logits_of(open_session(artifact.variant_path("cpu-fp32").read_bytes()))
    torch_logits = pairs.logits(load_checkpoint(checkpoint_folder, silent).logits)
    assert np.ptp(torch_logits) > 0.1
    np.testing.assert_allclose(pairs.logits(run), torch_logits, atol=1e-4)


def test_int8_stays_near_fp32(exported: Path) -> None:
    artifact = load_artifact(exported)
    pairs = EncodedPairs(artifact.tokenizer, made_up_pairs(50, seed=12))
    fp32, int8 = (
        pairs.logits(logits_of(open_session(artifact.variant_path(name).read_bytes())))
        for name in ("cpu-fp32", "cpu-int8")
    )
    assert np.sqrt(np.mean((fp32 - int8) ** 2)) < 0.1 * fp32.std()


@pytest.mark.parametrize("variant", ["cpu-fp32", "cpu-int8"])
def test_a_logit_does_not_depend_on_its_batch_mates(exported: Path, variant: str) -> None:
    artifact = load_artifact(exported)
    run = logits_of(open_session(artifact.variant_path(variant).read_bytes()))
    pairs = EncodedPairs(artifact.tokenizer, [*GOLDEN_PAIRS, *made_up_pairs(976, seed=13)])
    longest = int(np.argmax(pairs.lengths))
    alone = pairs.logits(run, [[row] for row in range(len(pairs))])
    np.testing.assert_allclose(pairs.logits(run, [range(len(pairs))]), alone, atol=1e-4)
    np.testing.assert_allclose(pairs.logits(run), alone, atol=1e-4)
    beside = [run(pairs.feeds([row, longest]))[0] for row in range(len(pairs))]
    np.testing.assert_allclose(beside, alone, atol=1e-4)


def test_golden_pairs_give_their_logits_in_every_variant(exported: Path) -> None:
    artifact = load_artifact(exported)
    assert len(artifact.manifest.golden_pairs) == len(GOLDEN_PAIRS) >= 16
    for variant in artifact.manifest.variants:
        score = scorer(logits_of(open_session(artifact.variant_path(variant.name).read_bytes())), artifact.tokenizer)
        found = score([(pair.query, pair.product) for pair in artifact.manifest.golden_pairs])
        expected = [pair.logits[variant.name] for pair in artifact.manifest.golden_pairs]
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert variant.golden_tolerance >= 1e-4


def test_only_the_wanted_variants_are_written_but_all_are_evaluated(plan: StudentExport, tmp_path: Path) -> None:
    manifest = export_student(replace(plan, variants=("cpu-int8",)), tmp_path / "a", silent)
    assert {path.name for path in (tmp_path / "a").glob("*.onnx")} == {"cpu-int8.onnx"}
    assert {metric.variant for metric in manifest.evaluation} == {"cpu-fp32", "cpu-int8"}
    assert all(pair.logits.keys() == {"cpu-int8"} for pair in manifest.golden_pairs)


def test_fp32_alone_is_exported_where_int8_cannot_be_served(
    plan: StudentExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.schemes, "MIN_PAIRS", 10)
    monkeypatch.setattr(export.faithful, "MIN_TAU", 1.1)
    made = made_up_pairs(60, seed=9)
    refused = replace(plan, lists=[(made[:30], ()), (made[30:], ())])
    with pytest.raises(ExportError, match=r"--variants cpu-fp32"):
        export_student(refused, tmp_path / "a", silent)
    manifest = export_student(replace(refused, variants=("cpu-fp32",)), tmp_path / "a", silent)
    assert [variant.name for variant in manifest.variants] == ["cpu-fp32"]
    assert {metric.variant for metric in manifest.evaluation} == {"cpu-fp32"}
    assert "int8 ranges" not in (tmp_path / "a" / "MODEL_CARD.md").read_text()


def test_the_same_checkpoint_gives_the_same_version_and_bytes_measured_times_aside(
    plan: StudentExport, exported: Path, tmp_path: Path
) -> None:
    export_student(plan, tmp_path / "again", silent)
    again, first = (folder_digest(folder) for folder in (tmp_path / "again", exported))
    assert again.keys() == first.keys()
    assert {name for name in first if again[name] != first[name]} <= {"manifest.json"}
    assert load_artifact(tmp_path / "again").manifest.version == load_artifact(exported).manifest.version


def test_human_targets_calibrate_the_scores(plan: StudentExport, exported: Path, tmp_path: Path) -> None:
    artifact = load_artifact(exported)
    pairs = made_up_pairs(300, seed=2)
    logits = scorer(logits_of(open_session(artifact.variant_path("cpu-int8").read_bytes())), artifact.tokenizer)(pairs)
    middle = np.median(logits)
    judged = [(query, product, float(logit > middle)) for (query, product), logit in zip(pairs, logits, strict=True)]
    manifest = export_student(replace(plan, dev_pairs=judged, dev_data="made-up judgements"), tmp_path / "a", silent)
    assert manifest.calibration.slope > 1
    assert manifest.calibration.fitted_on == "made-up judgements"


def test_a_graph_that_disagrees_with_torch_is_refused_and_the_old_artifact_stays(
    plan: StudentExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "artifact"
    export_student(plan, out, silent)
    before = folder_digest(out)
    monkeypatch.setattr(export.attention, "MASKED", 1.0)  # padding leaks into attention: a real graph, really wrong
    with pytest.raises(ExportError, match="fp32 ONNX and torch differ"):
        export_student(replace(plan, attention="unfused"), out, silent)
    assert folder_digest(out) == before
    assert list(tmp_path.iterdir()) == [out]


def test_int8_that_loses_quality_is_refused(plan: StudentExport, tmp_path: Path) -> None:
    values = iter((0.8, 0.79))

    def evaluate(score: Callable[..., object]) -> Sequence[Figure]:
        return [Figure("nDCG@10", next(values)), Figure("AUC", 0.9)]

    with pytest.raises(ExportError, match=r"cpu-int8 loses 0\.0100 nDCG@10"):
        export_student(replace(plan, evaluate=evaluate), tmp_path / "a", silent)
    assert not list(tmp_path.iterdir())


def test_a_loss_over_too_few_queries_to_tell_is_a_warning(plan: StudentExport, tmp_path: Path) -> None:
    values = iter((0.8, 0.79))
    said: list[str] = []

    def evaluate(score: Callable[..., object]) -> Sequence[Figure]:
        return [Figure("nDCG@10", next(values), size=29)]

    export_student(replace(plan, evaluate=evaluate), tmp_path / "a", said.append)
    assert any("cpu-int8 loses 0.0100 nDCG@10" in line and "29 queries are too few" in line for line in said)
    assert load_artifact(tmp_path / "a").manifest.evaluation


def test_too_few_calibration_pairs_are_refused(plan: StudentExport, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="at least 64 calibration pairs"):
        export_student(replace(plan, calibration_pairs=plan.calibration_pairs[:63]), tmp_path / "a", silent)


@pytest.mark.parametrize("variants", [(), ("cpu-int4",)])
def test_unknown_variants_are_refused(plan: StudentExport, tmp_path: Path, variants: tuple[str, ...]) -> None:
    with pytest.raises(ExportError, match="expected variants out of"):
        export_student(replace(plan, variants=variants), tmp_path / "a", silent)


def test_a_template_longer_than_the_models_positions_is_refused(plan: StudentExport, tmp_path: Path) -> None:
    template = TEMPLATE.model_copy(update={"max_tokens": 81})
    with pytest.raises(ExportError, match="lower max_tokens"):
        export_student(replace(plan, template=template), tmp_path / "a", silent)


def test_a_folder_that_holds_something_else_is_refused_and_kept(plan: StudentExport, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="expected an artifact folder to replace"):
        export_student(plan, tmp_path, silent)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_bare_encoder_gets_a_seeded_head_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    folder = write_checkpoint(tmp_path / "encoder", bare=True, max_position_embeddings=128)
    first = export_plain(folder, tmp_path / "a", "plain", "2026-01-01", attention="fused", say=lines.append)
    second = export_plain(folder, tmp_path / "b", "plain", "2026-01-01", attention="fused", say=silent)
    assert first.version == second.version
    assert any("RANDOM" in line for line in lines)
    assert first.evaluation == ()
    assert (first.calibration.slope, first.calibration.intercept) == (1, 0)


def test_a_weight_that_is_not_finite_is_refused(plan: StudentExport, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ExportError, match=r"classifier\.bias holds NaN"):
        export_student(replace(plan, checkpoint=folder), tmp_path / "a", silent)

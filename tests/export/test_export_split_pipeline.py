"""The whole export of a tiny split student, and what reads its artifact: verify, compare, latency, split-speed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import export.attention
import export.faithful
import export.schemes
import export.split.compile
from artifact import load_artifact
from artifact.product_states import states_version
from export import ExportError, HubExport, StudentExport, export_from_hf, export_student
from export.__main__ import main
from export.generator import made_up_pairs
from export.golden import GOLDEN_PAIRS
from export.split.checkpoint import read_split
from export.split.runtime import SplitModel, split_scorer
from export.verification import Options, verify

from .split_tiny import write_split
from .tampering import copy_of, edit_manifest
from .tiny import LINEAGE, TEMPLATE, Figure, silent, tiny_config, write_checkpoint

FEW = Options(pairs=40, latency_budget_s=0)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_split(tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="module")
def split_plan(student: Path) -> StudentExport:
    """An export of that student, without human targets."""
    pairs = made_up_pairs(100, seed=5)
    made = made_up_pairs(60, seed=6, products=20)
    return StudentExport(
        checkpoint=student,
        name="tiny split",
        template=TEMPLATE,
        lineage=LINEAGE,
        calibration_pairs=pairs,
        lists=[(made[i : i + 20], np.linspace(0, 1, 20).tolist()) for i in (0, 20, 40)],
        evaluate=lambda score: [Figure("nDCG@10", 0.8), Figure("AUC", float(len(score(pairs[:9]))) / 10)],
    )


@pytest.fixture(scope="module")
def split_artifact(split_plan: StudentExport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that export."""
    out = tmp_path_factory.mktemp("artifacts") / "split"
    export_student(split_plan, out, silent)
    return out


def test_the_artifact_loads_and_says_what_it_keeps_of_products(split_artifact: Path) -> None:
    manifest = load_artifact(split_artifact).manifest
    assert (manifest.architecture, manifest.layers, manifest.hidden_size) == ("split", 1, 32)
    assert {metric.variant for metric in manifest.evaluation} == {"cpu-fp32", "cpu-int8"}
    for variant, precision in zip(manifest.variants, ("fp32", "int8"), strict=True):
        assert variant.states is not None
        assert (variant.states.precision, variant.states.width, variant.states.pooled_width) == (precision, 16, 32)
        assert len({graph.file for graph in variant.graphs()}) == 3
        assert {point.tokens for point in variant.latency} == {8, 16, 32, 62}
        assert {point.tokens for point in variant.product_latency} == {8, 16, 32, 64}
    assert len({states_version(manifest, variant) for variant in manifest.variants}) == 2


def test_the_model_card_tells_of_states_and_every_file(split_artifact: Path) -> None:
    card = (split_artifact / "MODEL_CARD.md").read_text()
    assert "keeps 16 numbers of every token and 32 of the whole" in card
    assert "int8 states alone against fp32 states: Kendall tau" in card
    assert "cpu-int8: a pair's logit differs by at most" in card
    assert all(path.name in card for path in split_artifact.glob("*.onnx"))


def test_the_artifact_gives_the_logits_that_torch_gives(split_artifact: Path, student: Path) -> None:
    artifact = load_artifact(split_artifact)
    variant = artifact.manifest.variant("cpu-fp32")
    assert variant is not None
    pairs = made_up_pairs(30, seed=11)
    found = split_scorer(SplitModel.read(split_artifact, variant), artifact.tokenizer)(pairs)
    np.testing.assert_allclose(found, read_split(student).student.logits(pairs), atol=1e-4)


def test_golden_pairs_give_their_logits_in_every_variant(split_artifact: Path) -> None:
    artifact = load_artifact(split_artifact)
    assert len(artifact.manifest.golden_pairs) == len(GOLDEN_PAIRS)
    for variant in artifact.manifest.variants:
        score = split_scorer(SplitModel.read(split_artifact, variant), artifact.tokenizer)
        found = score([(pair.query, pair.product) for pair in artifact.manifest.golden_pairs])
        expected = [pair.logits[variant.name] for pair in artifact.manifest.golden_pairs]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_same_student_gives_the_same_version(
    split_plan: StudentExport, split_artifact: Path, tmp_path: Path
) -> None:
    again = export_student(split_plan, tmp_path / "again", silent)
    assert again.version == load_artifact(split_artifact).manifest.version


def test_verify_passes_it_against_torch(split_artifact: Path, student: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ["--pairs", "40", "--checkpoint", str(student), "--json", str(report)]
    assert main(["verify", str(split_artifact), *options]) == 0
    checks = {(each["check"], each["variant"]): each for each in json.loads(report.read_text())["checks"]}
    assert {each["result"] for each in checks.values()} == {"ok"}
    assert checks["parity", "cpu-fp32"]["against"] == "torch"
    assert checks["parity", "cpu-int8"]["against"] == "cpu-fp32"
    assert checks["independence", "cpu-int8"]["queries"] > 1


@pytest.mark.parametrize("part", ["product-encoder", "query-encoder"])
def test_verify_notices_a_flipped_byte_of_an_encoder(split_artifact: Path, tmp_path: Path, part: str) -> None:
    folder = copy_of(split_artifact, tmp_path / "copy")
    path = folder / f"cpu-int8.{part}.onnx"
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)
    checks, _ = verify(folder, silent, FEW)
    failed = {(check.name, check.variant) for check in checks.done if check.result == "FAIL"}
    assert ("hash and size", "cpu-int8") in failed
    assert {variant for _, variant in failed} == {"cpu-int8"}
    assert not any(name == "golden pairs" for name, _ in failed)


def test_verify_notices_states_that_the_graphs_do_not_give(split_artifact: Path, tmp_path: Path) -> None:
    folder = copy_of(split_artifact, tmp_path / "copy")
    edit_manifest(folder, lambda contents: contents["variants"][1]["states"].update(width=17))
    checks, _ = verify(folder, silent, FEW)
    failed = [check for check in checks.done if check.result == "FAIL"]
    assert [(check.name, check.variant) for check in failed] == [("graph", "cpu-int8")]
    assert "of another type or shape tokens" in failed[0].finding.sentence


def test_verify_notices_golden_logits_of_another_model(split_artifact: Path, tmp_path: Path) -> None:
    folder = copy_of(split_artifact, tmp_path / "copy")

    def move(contents: dict) -> None:
        contents["golden_pairs"] = [
            {**pair, "logits": {**pair["logits"], "cpu-int8": pair["logits"]["cpu-int8"] + 1}}
            for pair in contents["golden_pairs"]
        ]

    edit_manifest(folder, move)
    checks, _ = verify(folder, silent, FEW)
    assert [(c.name, c.variant) for c in checks.done if c.result == "FAIL"] == [("golden pairs", "cpu-int8")]


def test_verify_refuses_a_cross_encoders_checkpoint(
    split_artifact: Path, checkpoint_folder: Path, tmp_path: Path
) -> None:
    checks, _ = verify(split_artifact, silent, replace(FEW, checkpoint=checkpoint_folder))
    failed = [check for check in checks.done if check.result == "FAIL"]
    assert [(check.name, check.variant) for check in failed] == [("parity", "cpu-fp32")]
    assert "expected the checkpoint of a split student" in failed[0].finding.sentence


def test_compare_holds_it_against_a_cross_encoder(
    split_artifact: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(split_artifact), str(exported)]) == 0
    printed = capsys.readouterr().out
    assert "| architecture | split, 1 layers, 32 wide | cross-encoder, 2 layers, 32 wide |" in printed
    assert "Speed: 64 pairs on one thread" in printed


def test_latency_is_measured_again_and_the_version_stays(split_artifact: Path, tmp_path: Path) -> None:
    folder = copy_of(split_artifact, tmp_path / "copy")
    before = load_artifact(folder).manifest
    assert main(["latency", str(folder)]) == 0
    after = load_artifact(folder).manifest
    assert after.version == before.version
    for one, other in zip(before.variants, after.variants, strict=True):
        assert [point.pairs for point in one.product_latency] == [point.pairs for point in other.product_latency]
        assert one.latency != other.latency


def test_split_speed_times_each_graph_alone(split_artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split-speed", str(split_artifact), "--rounds", "2"]) == 0
    printed = capsys.readouterr().out
    for what in ("interaction, one lane", "query", "8 products encoded, one lane"):
        assert all(f"| {variant}, {what} |" in printed for variant in ("cpu-fp32", "cpu-int8"))


@pytest.mark.parametrize("command", ["profile", "split-speed"])
def test_commands_for_the_other_architecture_refuse_in_a_sentence(
    split_artifact: Path, exported: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, str(split_artifact if command == "profile" else exported)]) == 1
    assert "expected a" in capsys.readouterr().err


def test_int8_states_that_lose_quality_are_refused(
    split_plan: StudentExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(export.split.compile, "MAX_NDCG_LOSS", -1.0)
    export_student(split_plan, tmp_path / "a", said.append)
    assert any(line.startswith("warning: int8 states alone") for line in said)
    monkeypatch.setattr(export.split.compile, "MIN_PAIRS", 10)
    with pytest.raises(ExportError, match=r"int8 states alone do not rank as fp32 states do.*--variants cpu-fp32"):
        export_student(split_plan, tmp_path / "b", silent)
    assert not (tmp_path / "b").exists()
    manifest = export_student(replace(split_plan, variants=("cpu-fp32",)), tmp_path / "b", silent)
    assert [variant.name for variant in manifest.variants] == ["cpu-fp32"]


def test_int8_that_loses_quality_is_refused(split_plan: StudentExport, tmp_path: Path) -> None:
    values = iter((0.8, 0.79))

    def evaluate(score: Callable[..., object]) -> Sequence[Figure]:
        return [Figure("nDCG@10", next(values))]

    with pytest.raises(ExportError, match=r"cpu-int8 loses 0\.0100 nDCG@10"):
        export_student(replace(split_plan, evaluate=evaluate), tmp_path / "a", silent)


def test_operands_that_must_stay_in_fp32_do(
    split_plan: StudentExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taus = iter((2.0, 2.0, 0.0))  # plain and smoothed ranges do not suffice, one operand in fp32 does
    monkeypatch.setattr(export.faithful.Faithfulness, "suffices", property(lambda found: found.tau >= next(taus)))
    manifest = export_student(split_plan, tmp_path / "a", silent)
    kept = manifest.variants[1].choices["fp32_operands"]
    assert kept.split()[0] in ("product", "query", "interaction")
    assert verify(tmp_path / "a", silent, FEW)[0].passed


def test_another_template_than_the_students_is_refused(split_plan: StudentExport, tmp_path: Path) -> None:
    template = TEMPLATE.model_copy(update={"max_query_tokens": 5})
    with pytest.raises(ExportError, match="another input template"):
        export_student(replace(split_plan, template=template), tmp_path / "a", silent)


def test_a_variant_for_gpus_is_refused(split_plan: StudentExport, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no variant cuda-fp16"):
        export_student(replace(split_plan, variants=("cpu-fp32", "cuda-fp16")), tmp_path / "a", silent)


def sentence_encoder(folder: Path) -> Path:
    """A bare encoder with the files of a tokenizer."""
    write_checkpoint(folder, bare=True, pad_token_id=0)
    names = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "unk", "mask")}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **names}))
    return folder


def test_a_sentence_encoder_becomes_an_untrained_split_model(tmp_path: Path) -> None:
    folder = sentence_encoder(tmp_path / "encoder")
    out = tmp_path / "out"
    options = ["--name", "untrained", "--architecture", "split", "--max-tokens", "64"]
    assert main(["from-hf", str(folder), str(out), *options]) == 0
    artifact = load_artifact(out)
    manifest = artifact.manifest
    assert (manifest.architecture, manifest.layers) == ("split", tiny_config().num_hidden_layers)
    variant = manifest.variants[0]
    assert variant.states is not None
    assert variant.states.width == variant.states.pooled_width == manifest.hidden_size == 32
    assert (manifest.calibration.slope, manifest.calibration.intercept) == (1, 0)
    same, other = split_scorer(SplitModel.read(out, variant), artifact.tokenizer)(
        [("desk lamp", {"title": "desk lamp"}), ("desk lamp", {"title": "water bottle"})]
    )
    assert same == pytest.approx(2, abs=1e-4)  # cosine and MaxSim of a text with itself
    assert other < same
    assert verify(out, silent, FEW)[0].passed


def test_judged_calibration_pairs_calibrate_the_scores(tmp_path: Path) -> None:
    lines = [
        {"query": query, "product": product, "target": float(query.split()[-1] in (product["title"] or "").lower())}
        for query, product in made_up_pairs(200, seed=4)
    ]
    path = tmp_path / "judged.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    plan = HubExport(
        str(sentence_encoder(tmp_path / "encoder")),
        "x",
        "2026-01-01",
        calibration=path,
        architecture="split",
        max_tokens=64,
    )
    manifest = export_from_hf(plan, tmp_path / "a", silent)
    assert manifest.calibration.fitted_on == "judged.jsonl"
    path.write_text("\n".join(map(json.dumps, [*lines[:70], {"query": "x", "product": {}}])))
    with pytest.raises(ExportError, match="line 71: expected `target`"):
        export_from_hf(plan, tmp_path / "a", silent)


def test_gains_are_refused_where_there_is_one_output(tmp_path: Path) -> None:
    plan = HubExport(
        str(sentence_encoder(tmp_path / "encoder")), "x", "2026-01-01", architecture="split", gains=(0.0, 1.0)
    )
    with pytest.raises(ExportError, match="leave the gains out"):
        export_from_hf(plan, tmp_path / "a", silent)

"""cuda-fp16 in an export on a machine without a GPU, and what its runs are fed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import export.cuda_variant
from artifact import PairTokenizer, load_artifact
from export import ExportError, StudentExport, export_student
from export.cuda_reference import reference_run
from export.cuda_runtime import bound, fitted, gpu_is_present, open_cuda_session
from export.runtime import logits_of, open_session, scorer

from .tiny import TEMPLATE, silent

without_gpu = pytest.mark.skipif(gpu_is_present(), reason="ONNX Runtime for CUDA is installed")


@pytest.fixture(scope="module")
def with_cuda(plan: StudentExport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("artifacts") / "cuda"
    export_student(replace(plan, variants=("cpu-fp32", "cuda-fp16")), out, silent)
    return out


@without_gpu
def test_the_artifact_carries_the_variant_and_says_that_no_gpu_ran_it(with_cuda: Path) -> None:
    manifest = load_artifact(with_cuda).manifest
    variant = manifest.variant("cuda-fp16")
    assert variant is not None
    assert (variant.device, variant.precision, variant.golden_tolerance) == ("cuda", "fp16", 1e-2)
    assert all(pair.logits["cuda-fp16"] == pair.logits["cpu-fp32"] for pair in manifest.golden_pairs)
    assert "cuda-fp16, not run on a GPU at export" in (with_cuda / "MODEL_CARD.md").read_text()


def test_the_written_graph_gives_the_golden_logits(with_cuda: Path) -> None:
    artifact = load_artifact(with_cuda)
    score = scorer(reference_run(onnx.load(str(artifact.variant_path("cuda-fp16")))), artifact.tokenizer)
    golden = artifact.manifest.golden_pairs
    found = score([(pair.query, pair.product) for pair in golden])
    np.testing.assert_allclose(found, [pair.logits["cuda-fp16"] for pair in golden], atol=1e-2)


@without_gpu
def test_the_variant_alone_may_be_written(plan: StudentExport, tmp_path: Path) -> None:
    manifest = export_student(replace(plan, variants=("cuda-fp16",)), tmp_path / "a", silent)
    assert [variant.name for variant in manifest.variants] == ["cuda-fp16"]
    assert manifest.score_histogram is not None


@without_gpu
def test_a_variant_too_far_from_fp32_is_refused(
    plan: StudentExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.cuda_variant, "CUDA_TOLERANCE", 1e-6)
    with pytest.raises(ExportError, match="cuda-fp16 and fp32 differ by"):
        export_student(replace(plan, variants=("cuda-fp16",)), tmp_path / "a", silent)
    assert not list(tmp_path.iterdir())


@without_gpu
def test_a_session_without_the_provider_is_refused_in_a_sentence() -> None:
    with pytest.raises(ExportError, match="has no CUDAExecutionProvider: install onnxruntime-gpu"):
        open_cuda_session(b"")


def test_a_bound_run_gives_the_same_logits(with_cuda: Path) -> None:
    artifact = load_artifact(with_cuda)
    session = open_session(artifact.variant_path("cpu-fp32").read_bytes())
    tokenizer = PairTokenizer(with_cuda / "tokenizer.json", TEMPLATE)
    feeds = tokenizer.encode_pairs([("lamp", {"title": "desk lamp"}), ("bottle", {"title": "water"})]).feeds()
    assert np.array_equal(bound(session)(feeds), logits_of(session)(feeds))


def test_feeds_are_padded_to_a_bucket_with_pairs_of_one_token() -> None:
    feeds = {name: np.ones((2, 3), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    padded = fitted(feeds, (4, 5))
    assert all(array.shape == (4, 5) for array in padded.values())
    assert padded["attention_mask"].sum(axis=1).tolist() == [3, 3, 1, 1]
    assert padded["input_ids"][:2, :3].all()
    assert not padded["input_ids"][2:].any()
    assert feeds["attention_mask"].shape == (2, 3)

"""The checks that stop an export, each shown something that must not pass."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from artifact import load_artifact
from export import ExportError
from export.bert import build_bert
from export.checkpoint import load_checkpoint
from export.generator import made_up_pairs
from export.graph import Float32, serialise
from export.parity import check_against_torch, check_independence, check_operators
from export.peers import write_peer
from export.runtime import EncodedPairs, logits_of, open_session, optimised_operators

from .tiny import silent


def test_int8_multiplies_every_constant_weight_in_integers(exported: Path) -> None:
    operators = optimised_operators((exported / "cpu-int8.onnx").read_bytes())
    assert operators["MatMulIntegerToFloat"] == 6 * 2
    assert operators["QuantizeLinear"] == 4 * 2
    assert operators["DynamicQuantizeLinear"] == operators["DynamicQuantizeMatMul"] == 0


def test_a_float_graph_does_not_pass_for_int8(exported: Path) -> None:
    operators = optimised_operators((exported / "cpu-fp32.onnx").read_bytes())
    check_operators(operators, layers=2, precision="fp32", spelling="fused")
    with pytest.raises(ExportError, match="0 MatMulIntegerToFloat where 12 were expected"):
        check_operators(operators, layers=2, precision="int8", spelling="fused")


def test_a_slow_fusion_is_refused_by_name() -> None:
    with pytest.raises(ExportError, match="4 SkipLayerNormalization where 0"):
        check_operators(Counter(SkipLayerNormalization=4), layers=2, precision="fp32", spelling="fused")


def test_weights_that_differ_a_little_from_torch_are_refused(exported: Path, checkpoint_folder: Path) -> None:
    artifact = load_artifact(exported)
    checkpoint = load_checkpoint(checkpoint_folder, silent)
    weights = checkpoint.weights()
    weights["classifier.bias"] = weights["classifier.bias"] + np.float32(1e-3)
    model, _ = build_bert(weights, checkpoint.shape, Float32())
    pairs = EncodedPairs(artifact.tokenizer, made_up_pairs(8))
    with pytest.raises(ExportError, match=r"differ by 0\.001"):
        check_against_torch(checkpoint, logits_of(open_session(serialise(model))), pairs)


def test_a_logit_that_is_not_finite_is_refused(exported: Path, checkpoint_folder: Path) -> None:
    pairs = EncodedPairs(load_artifact(exported).tokenizer, made_up_pairs(8))
    checkpoint = load_checkpoint(checkpoint_folder, silent)
    with pytest.raises(ExportError, match="differ by nan"):
        check_against_torch(checkpoint, lambda feeds: np.full(len(feeds["input_ids"]), np.nan, np.float32), pairs)


def test_dynamic_int8_is_caught_depending_on_its_batch_mates(
    exported: Path, checkpoint_folder: Path, tmp_path: Path
) -> None:
    write_peer(checkpoint_folder, tmp_path / "peer", silent)
    run = logits_of(open_session((tmp_path / "peer" / "model_quantized.onnx").read_bytes()))
    pairs = EncodedPairs(load_artifact(exported).tokenizer, made_up_pairs(40))
    with pytest.raises(ExportError, match="dynamic: a pair's logit moves by"):
        check_independence(run, pairs, "dynamic")


def test_a_graph_that_the_runtime_cannot_read_is_refused() -> None:
    with pytest.raises(ExportError, match="refuses the graph"):
        open_session(b"not a graph")

"""The graph for CUDA, without a GPU: its operators, what ONNX Runtime makes of it, and its logits in numpy."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from artifact import PairTokenizer
from export import ExportError
from export.checkpoint import Checkpoint, load_checkpoint
from export.cuda import as_fp16, build_cuda
from export.cuda_reference import reference_run
from export.generator import made_up_pairs
from export.golden import GOLDEN_PAIRS
from export.graph import MICROSOFT, serialise
from export.plain import DEFAULT_TEMPLATE
from export.runtime import EncodedPairs, logits_of, open_session
from training.errors import TrainingError
from training.pretrained import resolve

from .tiny import TEMPLATE, silent

LAYERS = 2
FUSED = {
    "SkipLayerNormalization": 2 * LAYERS + 1,
    "BiasGelu": LAYERS,
    "MatMul": 4 * LAYERS,
    "Gemm": 2,
}


@pytest.fixture(scope="module")
def checkpoint(checkpoint_folder: Path) -> Checkpoint:
    return load_checkpoint(checkpoint_folder, silent)


@pytest.fixture(scope="module")
def pairs(checkpoint: Checkpoint) -> EncodedPairs:
    return EncodedPairs(PairTokenizer(checkpoint.tokenizer_path, TEMPLATE), [*GOLDEN_PAIRS, *made_up_pairs(40)])


@pytest.mark.parametrize(
    ("packed", "attention"),
    [
        (True, {"RemovePadding": 1, "PackedMultiHeadAttention": LAYERS}),
        (False, {"Split": LAYERS, "MultiHeadAttention": LAYERS}),
    ],
)
def test_the_graph_holds_the_fused_operators_and_no_others_of_their_kind(checkpoint, packed, attention):
    model = build_cuda(checkpoint.weights(), checkpoint.shape, packed)
    found = Counter(node.op_type for node in model.graph.node)
    assert FUSED.items() <= found.items()
    microsoft = Counter(node.op_type for node in model.graph.node if node.domain == MICROSOFT)
    fused = {name: FUSED[name] for name in ("SkipLayerNormalization", "BiasGelu")}
    assert microsoft == {**{name: n for name, n in attention.items() if name != "Split"}, **fused}
    assert found["Split"] == attention.get("Split", 0)


@pytest.mark.parametrize("packed", [True, False])
def test_weights_are_fp16_but_for_the_head(checkpoint, packed):
    model = build_cuda(checkpoint.weights(), checkpoint.shape, packed)
    wide = {each.name for each in model.graph.initializer if each.data_type == TensorProto.FLOAT}
    assert wide == {"pooler.weight", "pooler.bias", "classifier.weight", "classifier.bias"}
    half = [each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT16]
    assert len(half) == 5 + LAYERS * (2 + 2 * 4 + 2)


@pytest.mark.parametrize("packed", [True, False])
def test_inputs_and_output_are_those_of_the_graphs_for_cpu(checkpoint, packed):
    model = onnx.shape_inference.infer_shapes(build_cuda(checkpoint.weights(), checkpoint.shape, packed))
    onnx.checker.check_model(model, full_check=True)
    inputs = {each.name: each.type.tensor_type for each in model.graph.input}
    assert inputs.keys() == {"input_ids", "attention_mask", "token_type_ids"}
    assert {each.elem_type for each in inputs.values()} == {TensorProto.INT64}
    (output,) = model.graph.output
    assert (output.name, output.type.tensor_type.elem_type) == ("logits", TensorProto.FLOAT)
    assert output.type.tensor_type.shape.dim[1].dim_value == 1


def test_onnx_runtime_knows_every_operator_and_type_and_lacks_the_kernel_alone(checkpoint):
    model = build_cuda(checkpoint.weights(), checkpoint.shape)
    with pytest.raises(ExportError, match=r"NOT_IMPLEMENTED.*kernel for com\.microsoft\.RemovePadding"):
        open_session(serialise(model))


def test_a_wrong_type_is_told_from_a_missing_kernel(checkpoint):
    model = build_cuda(checkpoint.weights(), checkpoint.shape)
    (bias,) = (each for each in model.graph.initializer if each.name == "bert.encoder.layer.0.attention.self.qkv.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias).astype(np.float32), bias.name))
    with pytest.raises(ExportError, match=r"bound to different types.*PackedMultiHeadAttention"):
        open_session(serialise(model))


@pytest.mark.parametrize("packed", [True, False])
def test_logits_are_those_of_torch_to_a_hundredth(checkpoint, pairs, packed):
    expected = pairs.logits(checkpoint.logits)
    found = pairs.logits(reference_run(build_cuda(checkpoint.weights(), checkpoint.shape, packed)))
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_the_padded_graph_gives_the_same_in_onnx_runtimes_own_operators(checkpoint, pairs):
    model = build_cuda(checkpoint.weights(), checkpoint.shape, packed=False)
    found = pairs.logits(logits_of(open_session(serialise(model))))
    np.testing.assert_allclose(found, pairs.logits(checkpoint.logits), atol=1e-2)


@pytest.mark.parametrize("packed", [True, False])
def test_padding_moves_no_logit(checkpoint, pairs, packed):
    run = reference_run(build_cuda(checkpoint.weights(), checkpoint.shape, packed))
    for row in (0, 15, 30):
        feeds = pairs.feeds([row])
        padded = {name: np.pad(array, [(0, 0), (0, 9)]) for name, array in feeds.items()}
        np.testing.assert_allclose(run(padded), run(feeds), atol=0 if packed else 5e-3)


def test_what_padding_holds_is_not_read(checkpoint, pairs):
    run = reference_run(build_cuda(checkpoint.weights(), checkpoint.shape))
    feeds = pairs.feeds(range(6))
    other = {**feeds, "input_ids": np.where(feeds["attention_mask"] == 1, feeds["input_ids"], 7)}
    assert (feeds["input_ids"] != other["input_ids"]).any()
    assert np.array_equal(run(other), run(feeds))


def test_neighbours_move_a_logit_by_less_than_the_tolerance(checkpoint, pairs):
    run = reference_run(build_cuda(checkpoint.weights(), checkpoint.shape))
    together = pairs.logits(run, [range(len(pairs))])
    alone = pairs.logits(run, [[row] for row in range(len(pairs))])
    np.testing.assert_allclose(together, alone, atol=1e-2)


def test_six_real_layers_stay_within_a_hundredth():
    try:
        folder = Path(resolve("all-MiniLM-L6-v2"))
    except TrainingError:
        pytest.skip("the weights of all-MiniLM-L6-v2 are not installed")
    real = load_checkpoint(folder, silent)
    some = EncodedPairs(PairTokenizer(real.tokenizer_path, DEFAULT_TEMPLATE), GOLDEN_PAIRS[:8])
    assert len(set(some.lengths.tolist())) > 3
    found = some.logits(reference_run(build_cuda(real.weights(), real.shape)))
    expected = some.logits(real.logits)
    assert np.ptp(expected) > 0.03
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_weight_outside_the_range_of_fp16_is_refused_by_name(checkpoint):
    weights = checkpoint.weights()
    name = "bert.encoder.layer.1.output.dense.weight"
    weights[name] = weights[name].copy()
    weights[name][0, 0] = -7e4
    with pytest.raises(ExportError, match=rf"{name} holds 7e\+04, outside fp16's range"):
        build_cuda(weights, checkpoint.shape)
    assert np.isfinite(as_fp16("largest", np.array([65504.0], np.float32))).all()

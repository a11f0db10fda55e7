"""Why the last layer asks with two rows, and that both spellings of the attention give the same logits."""

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from artifact import load_artifact
from export.attention import ASKING, SPELLINGS
from export.bert import build_bert
from export.checkpoint import load_checkpoint
from export.generator import made_up_pairs
from export.graph import IR_VERSION, OPSET, Float32, serialise
from export.runtime import EncodedPairs, logits_of, open_session

from .tiny import silent

LONGEST = 80
HEADS, WIDTH = 12, 384


def session() -> onnxruntime.InferenceSession:
    """The fused operator alone, as the graph uses it."""
    floats = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("q", "k", "v", "y")}
    lengths = helper.make_tensor_value_info("lengths", TensorProto.INT64, ["n"])
    node = helper.make_node(
        "Attention", ["q", "k", "v", "", "", "", "lengths"], ["y"], scale=1.0, q_num_heads=HEADS, kv_num_heads=HEADS
    )
    graph = helper.make_graph([node], "one", [floats["q"], floats["k"], floats["v"], lengths], [floats["y"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return open_session(serialise(model))


def padded(array: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    return np.pad(array, [(0, 0), (0, length - array.shape[1]), (0, 0)], constant_values=7)


@pytest.mark.parametrize("length", range(3, 78))
def test_the_attention_of_two_rows_has_the_same_bits_whatever_the_padding(length):
    random = np.random.default_rng(length)
    query, keys, values = (random.normal(size=(1, rows, WIDTH)).astype(np.float32) for rows in (ASKING, length, length))
    run = session()
    lengths = np.array([length])
    short = run.run(None, {"q": query, "k": keys, "v": values, "lengths": lengths})[0]
    long = run.run(None, {"q": query, "k": padded(keys, LONGEST), "v": padded(values, LONGEST), "lengths": lengths})[0]
    assert np.array_equal(short, long)


def test_both_spellings_give_the_same_logits(exported, checkpoint_folder):
    checkpoint = load_checkpoint(checkpoint_folder, silent)
    pairs = EncodedPairs(load_artifact(exported).tokenizer, made_up_pairs(40))
    fused, unfused = (
        pairs.logits(
            logits_of(open_session(serialise(build_bert(checkpoint.weights(), checkpoint.shape, Float32(), each)[0])))
        )
        for each in SPELLINGS
    )
    assert np.ptp(fused) > 1e-3
    np.testing.assert_allclose(fused, unfused, atol=1e-6)

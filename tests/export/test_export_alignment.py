"""Why batches are padded to a multiple of ALIGNMENT: only so do ONNX Runtime's single-row products keep their bits."""

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from artifact.tokenisation import ALIGNMENT

LONGEST = 80
HEADS, WIDTH = 12, 32


def session(kind: str, **attributes: object) -> onnxruntime.InferenceSession:
    """One operator of two float inputs, as the graph of the last layer uses it."""
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("a", "b", "y")}
    domain = "" if kind == "MatMul" else "com.microsoft"
    node = helper.make_node(kind, ["a", "b"], ["y"], domain=domain, **attributes)
    graph = helper.make_graph([node], "one", [values["a"], values["b"]], [values["y"]])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def padded(array: NDArray[np.float32], length: int, axis: int) -> NDArray[np.float32]:
    missing = [(0, length - size if i == axis else 0) for i, size in enumerate(array.shape)]
    return np.pad(array, missing)


@pytest.mark.parametrize("length", range(3, 78))
def test_the_attention_of_one_row_has_the_same_bits_at_every_aligned_length(length):
    random = np.random.default_rng(length)
    query, keys, values = (
        random.normal(size=(1, HEADS, rows, WIDTH)).astype(np.float32) for rows in (1, length, length)
    )
    weights = random.random(size=(1, HEADS, 1, length)).astype(np.float32)
    scores, context = session("FusedMatMul", transB=1), session("MatMul")
    least = -(-length // ALIGNMENT) * ALIGNMENT
    short, long = (
        (
            scores.run(None, {"a": query, "b": padded(keys, size, 2)})[0][..., :length],
            context.run(None, {"a": padded(weights, size, 3), "b": padded(values, size, 2)})[0],
        )
        for size in (least, LONGEST)
    )
    assert np.array_equal(short[0], long[0])
    assert np.array_equal(short[1], long[1])

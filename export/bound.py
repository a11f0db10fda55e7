"""The time that a graph's int8 products alone would take: what is left to gain."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from .bert import BertShape
from .graph import IR_VERSION, OPSET, serialise
from .runtime import open_session


@dataclass(frozen=True, slots=True)
class Product:
    """A product of `rows` activations of `inner` values with a constant matrix (inner, outer)."""

    rows: int
    inner: int
    outer: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.outer


def products(shape: BertShape, intermediate: int, tokens: int, pairs: int) -> list[Product]:
    """What a BERT cross-encoder must multiply by constant weights for a micro-batch, padding and the head left out.

    Args:
        intermediate: width of the feed-forward layer.
        tokens: of all its pairs.
        pairs: the last layer's queries, and all that follows attention there, are computed once for each.
    """
    width = shape.hidden_size
    found: list[Product] = []
    for layer in range(shape.layers):
        last = layer == shape.layers - 1
        rows = pairs if last else tokens
        found += [Product(tokens, width, 2 * width), Product(pairs, width, width)] if last else []
        found += [] if last else [Product(tokens, width, 3 * width)]
        found += [Product(rows, width, width), Product(rows, width, intermediate), Product(rows, intermediate, width)]
    return found


def passes(found: list[Product], micro_batches: int, lanes: int) -> Callable[[], None]:
    """A function that multiplies the products of `micro_batches` micro-batches by MatMulInteger, side by side in lanes.

    Each lane has inputs and outputs of its own, which hold nothing that matters; outputs of one shape share memory,
    for a model's buffers are used again too.
    """
    session = open_session(_model(found))
    bindings = [_bind(session, found) for _ in range(lanes)]
    pool = ThreadPoolExecutor(lanes)
    shares = [len(range(lane, micro_batches, lanes)) for lane in range(lanes)]

    def lane(binding: ort.IOBinding, share: int) -> None:
        for _ in range(share):
            session.run_with_iobinding(binding)

    def run() -> None:
        for _ in pool.map(lane, bindings, shares):
            pass

    return run


def _model(found: list[Product]) -> bytes:
    random = np.random.default_rng(0)
    inputs, nodes, outputs, weights = {}, [], [], []
    for i, product in enumerate(found):
        name = f"in_{product.rows}_{product.inner}"
        inputs[name] = helper.make_tensor_value_info(name, TensorProto.UINT8, [product.rows, product.inner])
        integers = random.integers(-127, 128, (product.inner, product.outer)).astype(np.int8)
        weights.append(numpy_helper.from_array(integers, f"weight_{i}"))
        nodes.append(helper.make_node("MatMulInteger", [name, f"weight_{i}", "zero_point"], [f"out_{i}"]))
        outputs.append(helper.make_tensor_value_info(f"out_{i}", TensorProto.INT32, [product.rows, product.outer]))
    weights.append(numpy_helper.from_array(np.array(128, np.uint8), "zero_point"))
    graph = helper.make_graph(nodes, "products", list(inputs.values()), outputs, weights)
    return serialise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION))


def _bind(session: ort.InferenceSession, found: list[Product]) -> ort.IOBinding:
    random, binding, shared = np.random.default_rng(0), session.io_binding(), {}
    for each in session.get_inputs():
        values = random.integers(0, 256, each.shape).astype(np.uint8)
        binding.bind_ortvalue_input(each.name, ort.OrtValue.ortvalue_from_numpy(values))
    for i, product in enumerate(found):
        shape = (product.rows, product.outer)
        if shape not in shared:
            shared[shape] = ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.int32)
        binding.bind_ortvalue_output(f"out_{i}", shared[shape])
    return binding

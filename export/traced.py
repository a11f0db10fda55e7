"""Graphs of families that no file of ours writes: transformers' code, traced, its products in any `Arithmetic`.

The tracing exporter gives the float graph. It is written again node by node; what changes are the products of token
states with constant weights, which the arithmetic computes, and the word embeddings, which it stores. The head, two
products of one row a pair, stays float. So do products that no token goes into (DeBERTa's relative positions): where
not even the length does, ONNX Runtime computes them once, when it loads the graph.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from .attention import Spelling
from .bert import INPUTS, OUTPUT, BertShape
from .errors import ExportError
from .graph import Arithmetic, Floats, GraphWriter, Operand
from .head import write_one_logit

TRACED_OPSET = 18
TRACED_SPELLING: Spelling = "unfused"
"""Eager attention is MatMul, Softmax and MatMul."""

RAW_OUTPUT = "outputs"
EXAMPLE_LENGTH = 24


@dataclass(frozen=True)
class Traced:
    """A traced model, and which of its products are computed by an arithmetic.

    Attributes:
        graph: the float graph: `shape.inputs` to `RAW_OUTPUT` (n, K).
        words: index of the node that looks up the word embeddings.
        biased: index of each product with tokens -> index of the Add of its bias, or None.
        constants: value of every tensor that is known before the graph runs.
    """

    graph: onnx.GraphProto
    shape: BertShape
    words: int
    biased: dict[int, int | None]
    constants: dict[str, NDArray[Any]]

    @property
    def products(self) -> int:
        """Products that an arithmetic computes."""
        return len(self.biased)

    @property
    def operands(self) -> int:
        """Tensors that they read."""
        return len({self.graph.node[i].input[0] for i in self.biased})

    def build(self, arithmetic: Arithmetic, expose_taps: bool) -> tuple[onnx.ModelProto, dict[str, str]]:
        """The graph and its taps, as `build_bert` gives them."""
        rewriting = _Rewriting(self, arithmetic)
        writer = rewriting.write()
        taps = tuple(writer.taps.values()) if expose_taps else ()
        return writer.model(self.shape.inputs, OUTPUT, taps, TRACED_OPSET), writer.taps


def trace(model: Any, shape: BertShape) -> Traced:
    """Traces a sequence classifier of transformers.

    Raises:
        ExportError: the exporter cannot trace it, or its graph has no word embeddings or products to be found.
    """
    try:
        graph = onnx.load_from_string(_trace(model, shape)).graph
    except Exception as error:  # the exporter raises whatever the traced code raises
        problem = str(error).strip().partition("\n")[0]
        raise ExportError(f"torch {torch.__version__} cannot trace {type(model).__name__}: {problem}") from error
    constants = _constants(graph)
    live = _depending_on_inputs(graph)
    readers: dict[str, list[int]] = {}
    for i, node in enumerate(graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(i)
    biased: dict[int, int | None] = {}
    words: list[int] = []
    for i, node in enumerate(graph.node):
        if node.op_type == "Gather" and list(node.input[1:]) == [INPUTS[0]] and node.input[0] in constants:
            words.append(i)
        elif node.op_type == "MatMul" and node.input[0] in live and _is_matrix(constants.get(node.input[1])):
            biased[i] = _bias_of(graph, node.output[0], readers, constants)
    if len(words) != 1 or not biased:
        raise ExportError(
            f"the traced graph of {type(model).__name__} has {len(words)} look-ups of word embeddings and "
            f"{len(biased)} products: another version of transformers? export with the one that constraints name"
        )
    return Traced(graph, shape, words[0], biased, constants)


class _Rewriting:
    """Writes a traced graph in an arithmetic."""

    def __init__(self, traced: Traced, arithmetic: Arithmetic) -> None:
        self._traced = traced
        self._arithmetic = arithmetic
        self._writer = GraphWriter()
        self._names = {name: name for name in ("", *traced.shape.inputs)}
        self._operands: dict[str, tuple[Operand, str]] = {}

    def write(self) -> GraphWriter:
        traced, names = self._traced, self._names
        added = set(traced.biased.values())
        for i, node in enumerate(traced.graph.node):
            if i in added or node.output[0] in traced.constants:
                continue
            if i in traced.biased:
                self._product(node, traced.biased[i])
            elif i == traced.words:
                table = traced.constants[node.input[0]].astype(np.float32)
                names[node.output[0]] = self._arithmetic.rows(self._writer, "words", table, INPUTS[0])
            else:
                outputs = self._writer.copy(node, [self._name(name) for name in node.input])
                names.update(zip(node.output, outputs, strict=True))
        logits = self._name(RAW_OUTPUT)
        if traced.shape.gains:
            write_one_logit(self._writer, logits, traced.shape.gains, OUTPUT)
        else:
            self._writer.op("Identity", logits, output=OUTPUT)
        return self._writer

    def _name(self, name: str) -> str:
        """What a tensor of the traced graph is called in the new one; constants come in as they are asked for."""
        if name not in self._names:
            self._names[name] = self._writer.constant(f"constant_{len(self._names)}", self._traced.constants[name])
        return self._names[name]

    def _product(self, node: onnx.NodeProto, add: int | None) -> None:
        """A product of (n, length, inner) with constant weights, and the bias that follows it."""
        g, traced = self._writer, self._traced
        weight: Floats = traced.constants[node.input[1]].T
        bias = None if add is None else _constant_of(traced.graph.node[add], traced.constants)
        if node.input[0] not in self._operands:
            tensor = self._name(node.input[0])
            flat = g.op("Reshape", tensor, g.integers(-1, weight.shape[1]))
            dims = g.op("Slice", g.op("Shape", tensor), g.integers(0), g.integers(-1))
            self._operands[node.input[0]] = (self._arithmetic.operand(g, f"tokens.{len(self._operands)}", flat), dims)
        operand, dims = self._operands[node.input[0]]
        flat = self._arithmetic.linear(g, f"product.{len(self._names)}", operand, weight, bias)
        shaped = g.op("Reshape", flat, g.op("Concat", dims, g.integers(len(weight)), axis=0))
        self._names[node.output[0]] = shaped
        if add is not None:
            self._names[traced.graph.node[add].output[0]] = shaped


def _trace(model: Any, shape: BertShape) -> bytes:
    model.set_attn_implementation("eager")
    ids = torch.ones((2, EXAMPLE_LENGTH), dtype=torch.int64)
    file: Any = io.BytesIO()  # torch takes one, but does not say so
    with warnings.catch_warnings():
        # The tracing exporter is deprecated and warns at every turn; what it wrote is compared with torch afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (),
            file,
            kwargs=dict.fromkeys(shape.inputs, ids),
            input_names=list(shape.inputs),
            output_names=[RAW_OUTPUT],
            dynamic_axes={name: {0: "n", 1: "length"} for name in shape.inputs} | {RAW_OUTPUT: {0: "n"}},
            opset_version=TRACED_OPSET,
            dynamo=False,
        )
    model_bytes: bytes = file.getvalue()
    return model_bytes


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Initialisers, constants, and what is only another name of one of them or its transpose."""
    found: dict[str, NDArray[Any]] = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            found[node.output[0]] = numpy_helper.to_array(attributes["value"])
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
        elif node.op_type == "Transpose" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]].transpose(attributes.get("perm"))
    return found


def _depending_on_inputs(graph: onnx.GraphProto) -> set[str]:
    """Tensors that hold something of the inputs' values, not of their shapes alone."""
    live = {each.name for each in graph.input}
    for node in graph.node:
        if node.op_type != "Shape" and not live.isdisjoint(node.input):
            live.update(node.output)
    return live


def _bias_of(
    graph: onnx.GraphProto, product: str, readers: dict[str, list[int]], constants: dict[str, NDArray[Any]]
) -> int | None:
    """The Add of a constant vector that alone reads a product."""
    if len(readers.get(product, [])) != 1:
        return None
    index = readers[product][0]
    node = graph.node[index]
    if node.op_type != "Add" or not set(node.input) & constants.keys() or _constant_of(node, constants).ndim != 1:
        return None
    return index


def _constant_of(node: onnx.NodeProto, constants: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return next(constants[name] for name in node.input if name in constants)


def _is_matrix(value: NDArray[Any] | None) -> bool:
    return value is not None and value.ndim == 2 and value.dtype == np.float32

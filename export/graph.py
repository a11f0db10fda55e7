"""Writes ONNX graphs: nodes and constants, and the float32 arithmetic. Knows no model family.

A model family (bert.py) says what is computed; an `Arithmetic` says in which numbers. int8 is in quantise.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]

MICROSOFT = "com.microsoft"
OPSET = 24
IR_VERSION = 12
PRODUCER = "shelfscore"


class Tensor(NamedTuple):
    """An input or output of a graph."""

    name: str
    kind: int
    shape: tuple[str | int, ...]


class GraphWriter:
    """Collects nodes and constants in order. Names are made from a counter, so equal calls give equal bytes."""

    def __init__(self) -> None:
        self.taps: dict[str, str] = {}
        """Tag -> name of a float tensor that feeds constant-weight products: what int8 ranges are measured on."""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Adds a constant, once per name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def integers(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant("int64_" + "_".join(map(str, values)), np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, domain: str = "", output: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output and returns the output's name."""
        name = f"{kind}_{len(self._nodes)}"
        output = output or name
        self._nodes.append(helper.make_node(kind, inputs, [output], name=name, domain=domain, **attributes))
        return output

    def several(self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Adds a node with several outputs and returns their names."""
        name = f"{kind}_{len(self._nodes)}"
        names = [f"{name}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, name=name, domain=domain, **attributes))
        return names

    def split(self, tensor: str, parts: int, axis: int) -> list[str]:
        """Cuts a tensor into equal parts along an axis."""
        return self.several("Split", tensor, outputs=parts, axis=axis, num_outputs=parts)

    def copy(self, node: onnx.NodeProto, inputs: Sequence[str]) -> list[str]:
        """Adds a node of another graph, reading other tensors, and returns the names of its outputs."""
        name = f"{node.op_type}_{len(self._nodes)}"
        outputs = [f"{name}_{i}" if each else "" for i, each in enumerate(node.output)]
        copied = helper.make_node(node.op_type, inputs, outputs, name=name, domain=node.domain)
        copied.attribute.extend(node.attribute)
        self._nodes.append(copied)
        return outputs

    def model(
        self,
        inputs: Sequence[str],
        output: str,
        extra_outputs: Sequence[str] = (),
        opset: int = OPSET,
        ir_version: int = IR_VERSION,
    ) -> onnx.ModelProto:
        """The graph as a checked model: int64 inputs of shape (n, length), a float output of shape (n, 1)."""
        fed = [Tensor(name, TensorProto.INT64, ("n", "length")) for name in inputs]
        given = [
            Tensor(output, TensorProto.FLOAT, ("n", 1)),
            *(Tensor(name, TensorProto.FLOAT, ("rows", "width")) for name in extra_outputs),
        ]
        return self.model_of("cross-encoder", fed, given, opset, ir_version)

    def model_of(
        self,
        name: str,
        inputs: Sequence["Tensor"],
        outputs: Sequence["Tensor"],
        opset: int = OPSET,
        ir_version: int = IR_VERSION,
    ) -> onnx.ModelProto:
        """The graph as a checked model with inputs and outputs of any kind."""
        infos = [[helper.make_tensor_value_info(*each) for each in tensors] for tensors in (inputs, outputs)]
        graph = helper.make_graph(self._nodes, name, *infos, list(self._constants.values()))
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name=PRODUCER)
        onnx.checker.check_model(model)
        return model


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor as an arithmetic multiplies it: float values, or integers with the scale that belongs to `tag`."""

    tensor: str
    tag: str


class Arithmetic(Protocol):
    """In which numbers embeddings are stored and constant-weight products are computed. Results are float32."""

    def rows(self, graph: GraphWriter, name: str, table: Floats, ids: str) -> str:
        """The rows of `table` (rows, width) at integer `ids` of any shape: (..., width)."""

    def leading_rows(self, graph: GraphWriter, name: str, table: Floats, count: str) -> str:
        """The first `count` (int64, shape (1,)) rows of `table` (rows, width): (count, width)."""

    def operand(self, graph: GraphWriter, tag: str, tensor: str) -> Operand:
        """Prepares a float tensor (m, inner) for `linear`. Call once per tensor: products share the result."""

    def linear(self, graph: GraphWriter, name: str, operand: Operand, weight: Floats, bias: Floats | None) -> str:
        """operand (m, inner) times the transpose of `weight` (outer, inner), plus `bias` (outer,): (m, outer)."""


class Float32:
    """Plain float32 throughout."""

    def rows(self, graph: GraphWriter, name: str, table: Floats, ids: str) -> str:
        return graph.op("Gather", graph.constant(name, table), ids)

    def leading_rows(self, graph: GraphWriter, name: str, table: Floats, count: str) -> str:
        return graph.op("Slice", graph.constant(name, table), graph.integers(0), count, graph.integers(0))

    def operand(self, graph: GraphWriter, tag: str, tensor: str) -> Operand:
        graph.taps[tag] = tensor
        return Operand(tensor, tag)

    def linear(self, graph: GraphWriter, name: str, operand: Operand, weight: Floats, bias: Floats | None) -> str:
        inputs = [operand.tensor, graph.constant(f"{name}.weight", weight.T)]
        return graph.op("Gemm", *inputs, *([] if bias is None else [graph.constant(f"{name}.bias", bias)]))


class Observed(Float32):
    """Float32 that keeps which matrices (outer, inner) each operand is multiplied by."""

    def __init__(self) -> None:
        self.weights: dict[str, list[Floats]] = {}

    def linear(self, graph: GraphWriter, name: str, operand: Operand, weight: Floats, bias: Floats | None) -> str:
        self.weights.setdefault(operand.tag, []).append(weight)
        return super().linear(graph, name, operand, weight, bias)


def serialise(model: onnx.ModelProto) -> bytes:
    """The model's bytes: the same for the same model."""
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised

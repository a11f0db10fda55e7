"""Static int8: the arithmetic, and how weights and ranges become integers. Measuring the ranges is in ranges.py.

Activations are unsigned with one scale per tensor, fixed at export; weights signed with one scale per output channel;
products exact in int32, results float32 (U8S8, which VNNI multiplies without saturating; elsewhere sessions ask for
products that do not). Nothing is derived from a batch, so a pair's logit cannot depend on its neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import onnx
from numpy.typing import NDArray

from .graph import MICROSOFT, Float32, Floats, GraphWriter, Operand

SMALLEST = 1e-9
"""Keeps a scale positive where all values are 0."""


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """What one tensor's unsigned 8-bit integers mean: value = scale * (integer - zero_point)."""

    scale: np.float32
    zero_point: np.uint8

    @classmethod
    def covering(cls, low: float, high: float) -> Self:
        """The range from `low` to `high`, widened to hold 0 exactly. Values outside are clipped to it."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32(max((high - low) / 255, SMALLEST))
        return cls(scale, np.uint8(np.clip(np.round(-low / scale), 0, 255)))


def by_row(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Symmetric int8 with one scale per row: (rows, width) -> integers of that shape, scales (rows,)."""
    scales = (np.maximum(np.abs(matrix).max(axis=1), SMALLEST) / 127).astype(np.float32)
    return np.clip(np.round(matrix / scales[:, None]), -127, 127).astype(np.int8), scales


@dataclass(frozen=True, slots=True)
class Scheme:
    """How each operand of constant-weight products becomes integers, by its tag.

    Attributes:
        ranges: what its integers mean, of all that are not kept.
        smoothing: divisors by channel, (inner,), which the weights are multiplied by: SmoothQuant. May lack tags.
        kept: operands whose products stay in fp32.
    """

    ranges: Mapping[str, ActivationRange]
    smoothing: Mapping[str, Floats] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()


class Int8:
    """int8 embeddings and constant-weight products, but for the operands that the scheme keeps in fp32.

    The fused operator MatMulIntegerToFloat is written as such, not left to an optimiser that may fail to find it.
    """

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self._float = Float32()

    def rows(self, graph: GraphWriter, name: str, table: Floats, ids: str) -> str:
        integers, scales = by_row(table)
        values = graph.op("Gather", graph.constant(f"{name}.int8", integers), ids)
        scale = graph.op("Gather", graph.constant(f"{name}.scale", scales[:, None]), ids)
        return graph.op("Mul", graph.op("Cast", values, to=onnx.TensorProto.FLOAT), scale)

    def leading_rows(self, graph: GraphWriter, name: str, table: Floats, count: str) -> str:
        integers, scales = by_row(table)
        parts = (graph.constant(f"{name}.int8", integers), graph.constant(f"{name}.scale", scales[:, None]))
        values, scale = (graph.op("Slice", part, graph.integers(0), count, graph.integers(0)) for part in parts)
        return graph.op("Mul", graph.op("Cast", values, to=onnx.TensorProto.FLOAT), scale)

    def operand(self, graph: GraphWriter, tag: str, tensor: str) -> Operand:
        if tag in self._scheme.kept:
            return self._float.operand(graph, tag, tensor)
        graph.taps[tag] = tensor
        if (divisors := self._scheme.smoothing.get(tag)) is not None:
            tensor = graph.op("Mul", tensor, graph.constant(f"{tag}.smoothing", 1 / divisors))
        return Operand(graph.op("QuantizeLinear", tensor, *self._range(graph, tag)), tag)

    def linear(self, graph: GraphWriter, name: str, operand: Operand, weight: Floats, bias: Floats | None) -> str:
        if operand.tag in self._scheme.kept:
            return self._float.linear(graph, name, operand, weight, bias)
        integers, scales = by_row(weight * self._scheme.smoothing.get(operand.tag, np.float32(1)))
        scale, zero_point = self._range(graph, operand.tag)
        return graph.op(
            "MatMulIntegerToFloat",
            operand.tensor,
            graph.constant(f"{name}.int8", integers.T),
            scale,
            graph.constant(f"{name}.scale", scales),
            zero_point,
            *([] if bias is None else ["", graph.constant(f"{name}.bias", bias)]),
            domain=MICROSOFT,
        )

    def _range(self, graph: GraphWriter, tag: str) -> tuple[str, str]:
        found = self._scheme.ranges[tag]
        return graph.constant(f"{tag}.scale", found.scale), graph.constant(f"{tag}.zero_point", found.zero_point)

"""The products' states as the interaction reads them: in floats for scores, in integers for products with weights."""

from functools import partial, reduce

import numpy as np
from onnx import TensorProto

from artifact.product_states import ZERO_POINT

from ..graph import MICROSOFT, Floats, GraphWriter
from ..quantise import by_row
from . import names
from .shape import States

MASKED = -1e4
"""Score of what is no token: its weight becomes exactly 0 after the softmax."""

WHOLE_SUM = 128
"""Terms that ONNX Runtime adds up in one order, whatever the shapes. A longer sum it cuts into parts, the longer the
fewer columns there are (MLAS, sgemm.cpp: strides of K and N). Here columns are tokens of a batch's longest product, and
a score's last bit would depend on it, which 8-bit rounding then amplifies."""


class ProductTokens:
    """The graph's inputs, made ready once for all layers. What stands in padding is never looked at.

    Attributes:
        states: (n, longest, width), floats, 0 in padding.
        mask: (n, 1, longest): 0 at a token, `MASKED` in padding.
        count, longest: int64 (1,): how many products, and the tokens of the longest.

    Args:
        kind: of the inputs.
        int8: multiply weights in 8 bits; only for states that are.
    """

    def __init__(self, g: GraphWriter, kind: States, int8: bool, width: int) -> None:
        self._g = g
        self._int8 = int8
        self._width = width
        self.count, self.longest = (g.op("Shape", names.TOKENS, start=axis, end=axis + 1) for axis in (0, 1))
        zero, one = (g.constant(f"scalar_{i}", np.int64(i)) for i in range(2))
        place = g.op("Range", zero, g.op("Squeeze", self.longest, g.integers(0)), one)
        self._present = g.op("Less", place, g.op("Unsqueeze", names.LENGTHS, g.integers(1)))
        nothing, masked = g.constant("zero", np.float32(0)), g.constant("masked", np.float32(MASKED))
        self.mask = g.op("Unsqueeze", g.op("Where", self._present, nothing, masked), g.integers(1))
        self._scales = g.op("Where", self._present, names.SCALES, nothing)
        by_token = g.op("Unsqueeze", self._scales, g.integers(2))
        if kind == "int8":
            unscaled = g.op("DequantizeLinear", names.TOKENS, *_as_they_are(g))
        else:
            present = g.op("Unsqueeze", self._present, g.integers(2))
            unscaled = g.op("Where", present, names.TOKENS, nothing)
        self.states = g.op("Mul", unscaled, by_token)
        self._parts: list[str] = []
        self._leading: str | None = None

    @property
    def scale_after(self) -> bool:
        """Whether what `project` gives is still to be multiplied by `scales`."""
        return self._int8

    @property
    def scales(self) -> str:
        """(n, 1, 1, longest): 0 in padding."""
        return self._g.op("Unsqueeze", self._scales, self._g.integers(1, 2))

    def matched(self, rows: str) -> str:
        """Rows in the space of states, (1 or n, rows, width), times the states: (n, rows, longest)."""
        g = self._g
        if self._width <= WHOLE_SUM:
            return g.op("FusedMatMul", rows, self.states, domain=MICROSOFT, transB=1)
        self._parts = self._parts or self._cut(self.states)
        products = [
            g.op("FusedMatMul", part, states, domain=MICROSOFT, transB=1)
            for part, states in zip(self._cut(rows), self._parts, strict=True)
        ]
        return reduce(partial(g.op, "Add"), products)

    def _cut(self, tensor: str) -> list[str]:
        """A tensor (..., width) in parts of at most `WHOLE_SUM` numbers."""
        sizes = [min(WHOLE_SUM, self._width - start) for start in range(0, self._width, WHOLE_SUM)]
        return self._g.several("Split", tensor, self._g.integers(*sizes), outputs=len(sizes), axis=-1)

    def project(self, name: str, weight: Floats, heads: int) -> str:
        """The states times the transpose of `weight` (width, inner): (longest, n, heads, head size).

        Tokens come first, so that a product by product and head can read it in place.
        """
        g = self._g
        if self._leading is None:
            source = names.TOKENS if self._int8 else self.states
            tokens_first = g.op("Transpose", source, perm=[1, 0, 2])
            self._leading = g.op("Reshape", tokens_first, g.integers(-1, self._width))
        if self._int8:
            integers, scales = by_row(weight)
            one, zero_point = _as_they_are(g)
            inputs = (g.constant(f"{name}.int8", integers.T), one, g.constant(f"{name}.scale", scales), zero_point)
            product = g.op("MatMulIntegerToFloat", self._leading, *inputs, domain=MICROSOFT)
        else:
            product = g.op("MatMul", self._leading, g.constant(f"{name}.weight", weight.T))
        sizes = g.op("Concat", self.longest, self.count, g.integers(heads, len(weight) // heads), axis=0)
        return g.op("Reshape", product, sizes)

    def cosine(self, kind: States) -> str:
        """(n, 1): the products' vectors times the query's."""
        g, vectors = self._g, names.POOLED
        if kind == "int8":
            vectors = g.op("DequantizeLinear", vectors, *_as_they_are(g))
        products = g.op("FusedMatMul", vectors, names.QUERY_VECTOR, domain=MICROSOFT, transB=1)
        return g.op("Mul", products, g.op("Unsqueeze", names.POOLED_SCALES, g.integers(1)))


def _as_they_are(g: GraphWriter) -> tuple[str, str]:
    """Scale and zero point of integers whose scales are applied elsewhere."""
    return g.constant("unscaled", np.float32(1)), g.constant("zero_point", np.uint8(ZERO_POINT))


KINDS = {"int8": TensorProto.UINT8, "fp32": TensorProto.FLOAT}

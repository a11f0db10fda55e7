"""Multi-head attention on CPU in two spellings that compute the same: which is faster is measured at export.

`fused` is ONNX's Attention operator over the outputs of three products, which it reads in place. `unfused` is one
product for queries, keys and values, transposed by head, then MatMul, Softmax and MatMul. On a 2-core Zen 5 the whole
6-layer int8 graph takes 7 % less time with the former (ONNX Runtime 1.31, one thread).

The last layer asks for [CLS] alone, but with two rows, [CLS] and the token after it: ONNX Runtime multiplies a single
row four products at a time and adds what is left over in another order, so that its last bit would depend on the
padding, which 8-bit rounding then amplifies. Two rows take the same path as any other number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import onnx

from .graph import MICROSOFT, Arithmetic, Floats, GraphWriter, Operand

Spelling = Literal["fused", "unfused"]
SPELLINGS: tuple[Spelling, ...] = get_args(Spelling)

ASKING = 2
"""Tokens of each pair whose queries the last layer computes."""

MASKED = 10_000.0
"""Taken off a masked position's attention score: its weight becomes exactly 0 after the softmax."""

Projections = Mapping[Literal["query", "key", "value"], tuple[Floats, Floats | None]]
"""Weight (width, inner) and bias (width,) of each; the query's are divided by the root of the head size."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tensors that all layers share.

    Attributes:
        by_token: int64 (3,): n, length, width.
        lengths: int64 (n,): tokens of each pair without padding; fused only.
        mask: float (n, 1, 1, length): 0 at a token, -MASKED at padding; unfused only.
    """

    by_token: str
    lengths: str = ""
    mask: str = ""

    @classmethod
    def of(cls, graph: GraphWriter, spelling: Spelling, mask: str, pairs_by_length: str, width: int) -> "Batch":
        """What `spelling` needs of the input `mask`, int64 (n, length): 1 at a token."""
        by_token = graph.op("Concat", pairs_by_length, graph.integers(width), axis=0)
        if spelling == "fused":
            return cls(by_token, lengths=graph.op("ReduceSum", mask, graph.integers(1), keepdims=0))
        floats = graph.op("Cast", mask, to=onnx.TensorProto.FLOAT)
        floats = graph.op("Sub", floats, graph.constant("one", np.float32(1)))
        floats = graph.op("Mul", floats, graph.constant("masked", np.float32(MASKED)))
        return cls(by_token, mask=graph.op("Unsqueeze", floats, graph.integers(1, 2)))


@dataclass(frozen=True, slots=True)
class SelfAttention:
    """One layer's attention.

    Attributes:
        name: prefix of its constants.
        heads, head_size: their product is the width.
        cls_only: the output is wanted for each pair's first token alone.
    """

    graph: GraphWriter
    arithmetic: Arithmetic
    batch: Batch
    name: str
    heads: int
    head_size: int
    cls_only: bool

    def write(self, spelling: Spelling, tokens: Operand, projections: Projections) -> str:
        """softmax(Q K^T) V for each head.

        Args:
            tokens: (n * length, inner).

        Returns:
            (n * length, width), or (n, width) for [CLS] only.
        """
        context = self._fused(tokens, projections) if spelling == "fused" else self._unfused(tokens, projections)
        if self.cls_only:
            context = self.graph.op("Gather", context, self.graph.constant("first", np.int64(0)), axis=1)
        return self.graph.op("Reshape", context, self.graph.integers(-1, self.heads * self.head_size))

    def _fused(self, tokens: Operand, projections: Projections) -> str:
        g = self.graph
        query = self._project(self._asking(tokens), {"query": projections["query"]})
        keys, values = (self._project(tokens, {part: projections[part]}) for part in ("key", "value"))
        shape = g.integers(-1, ASKING, self.heads * self.head_size) if self.cls_only else self.batch.by_token
        query = g.op("Reshape", query, shape)
        keys, values = (g.op("Reshape", tensor, self.batch.by_token) for tensor in (keys, values))
        inputs = (query, keys, values, "", "", "", self.batch.lengths)
        return g.op("Attention", *inputs, scale=1.0, q_num_heads=self.heads, kv_num_heads=self.heads)

    def _unfused(self, tokens: Operand, projections: Projections) -> str:
        g = self.graph
        together = {part: projections[part] for part in projections if not (self.cls_only and part == "query")}
        product = self._by_head(self._project(tokens, together), len(together))
        *queries, keys, values = (g.op("Squeeze", t, g.integers(0)) for t in g.split(product, len(together), axis=0))
        if self.cls_only:
            product = self._project(self._asking(tokens), {"query": projections["query"]})
            product = g.op("Reshape", product, g.integers(-1, ASKING, self.heads, self.head_size))
            queries = [g.op("Transpose", product, perm=[0, 2, 1, 3])]
        scores = g.op("FusedMatMul", queries[0], keys, domain=MICROSOFT, transB=1)
        context = g.op("MatMul", g.op("Softmax", g.op("Add", scores, self.batch.mask), axis=-1), values)
        context = g.op("Transpose", context, perm=[0, 2, 1, 3])
        return g.op("Reshape", context, g.integers(0, 0, -1))

    def _by_head(self, product: str, parts: int) -> str:
        """(n * length, parts * width) -> (parts, n, heads, length, head size)."""
        g = self.graph
        pairs_by_length = g.op("Slice", self.batch.by_token, g.integers(0), g.integers(2))
        dims = g.op("Concat", pairs_by_length, g.integers(parts, self.heads, self.head_size), axis=0)
        return g.op("Transpose", g.op("Reshape", product, dims), perm=[2, 0, 3, 1, 4])

    def _asking(self, tokens: Operand) -> Operand:
        """The rows whose queries are computed: all, or each pair's first two."""
        if not self.cls_only:
            return tokens
        g = self.graph
        by_pair = g.op("Reshape", tokens.tensor, self.batch.by_token)
        two = g.op("Slice", by_pair, g.integers(0), g.integers(ASKING), g.integers(1))
        return Operand(g.op("Reshape", two, g.integers(-1, self.heads * self.head_size)), tokens.tag)

    def _project(self, tokens: Operand, parts: Projections) -> str:
        """One product for all `parts`, side by side."""
        weight = np.concatenate([weight for weight, _ in parts.values()])
        if all(bias is None for _, bias in parts.values()):
            bias = None
        else:
            zeros = np.zeros(self.heads * self.head_size, np.float32)
            bias = np.concatenate([zeros if bias is None else bias for _, bias in parts.values()])
        return self.arithmetic.linear(self.graph, f"{self.name}.{'.'.join(parts)}", tokens, weight, bias)

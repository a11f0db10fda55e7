"""Attention of the query's tokens over themselves and a product's tokens, in one softmax.

What keeps it small: keys of products are folded into the queries where those are few (in the first layer all products
share them, in the last one [CLS] alone asks), so that scores are products with the states themselves; in the layer that
asks for [CLS] alone, so are the values of products into the product that follows.
"""

from collections.abc import Mapping

import numpy as np

from ..graph import MICROSOFT, Arithmetic, Floats, GraphWriter, Operand
from . import names
from .shape import InteractionShape, answering_weight, asking_weights
from .states import ProductTokens


class InteractionAttention:
    """The attention of one layer after another.

    Args:
        weights: state dict of the interaction.
        products: what is attended to beside the query's own tokens.
    """

    def __init__(
        self,
        g: GraphWriter,
        weights: Mapping[str, Floats],
        shape: InteractionShape,
        arithmetic: Arithmetic,
        products: ProductTokens,
    ) -> None:
        self._g = g
        self._weights = weights
        self._shape = shape
        self._arithmetic = arithmetic
        self._products = products
        asking = [g.op("Shape", names.OWN_VALUES, start=2, end=3), products.longest]
        self._parts = g.op("Concat", *asking, axis=0)

    def first(self, cls_only: bool) -> str:
        """Of the first layer, whose queries, and keys and values of the query's tokens, come from the query encoder.

        Returns:
            (n, asking tokens, width), the product that follows included.
        """
        g, s = self._g, self._shape
        scores = self._scores(names.ASKING)
        alike = g.op("Concat", self._products.count, g.integers(1, 1), axis=0)
        own, products = self._weighted(g.op("Expand", names.OWN_SCORES, alike), scores)
        if cls_only:
            return g.op("Unsqueeze", self._of_first_token(0, own, products, names.OWN_VALUES), g.integers(1))
        asking = g.op("Shape", names.RESIDUAL, start=1, end=2)
        by_head = g.op("Concat", g.integers(0, s.heads), asking, g.integers(-1), axis=0)
        own, products = (g.op("Reshape", part, by_head) for part in (own, products))
        attended = self._of_all(0, own, products, names.OWN_VALUES)
        return g.op("Reshape", attended, g.op("Concat", self._products.count, asking, g.integers(s.width), axis=0))

    def later(self, i: int, x: str, cls_only: bool) -> tuple[str, str]:
        """Of a layer whose query tokens, `x` (n * query tokens, width), are of one product each.

        Returns:
            The attention's output, the product that follows included, and what of `x` asked: both (n * query tokens,
            width), or (n, width).
        """
        g, s, name = self._g, self._shape, f"layers.{i}."
        tokens = self._arithmetic.operand(g, f"{i}.in", x)
        keys, values = (
            self._by_head(self._arithmetic.linear(g, name + part, tokens, weight, None))
            for part, weight in ((part, self._weights[f"{name}{part}.weight"]) for part in ("key", "value"))
        )
        scale = np.float32(1 / np.sqrt(s.head_size))
        query, bias = self._weights[name + "query.weight"] * scale, self._weights[name + "query.bias"] * scale
        if cls_only:
            x, first = self._first_tokens(x), self._first_tokens(tokens.tensor)
            tokens = Operand(first, tokens.tag)
        queries = self._by_head(self._arithmetic.linear(g, name + "query", tokens, query, bias))
        own_scores = g.op("FusedMatMul", queries, keys, domain=MICROSOFT, transB=1)
        product_key = self._weights[name + "product_key.weight"]
        if cls_only:
            folded = asking_weights(query, bias, product_key, s)
            asking = self._arithmetic.linear(g, name + "asking", tokens, *folded)
            scores = self._scores(g.op("Reshape", asking, g.integers(-1, s.heads, s.state_width)))
            own, products = self._weighted(g.op("Squeeze", own_scores, g.integers(2)), scores)
            return self._of_first_token(i, own, products, values), x
        product_keys = self._products.project(name + "product_key", product_key, s.heads)
        scores = g.op("FusedMatMul", queries, product_keys, domain=MICROSOFT, transB=1, transBatchB=1)
        if self._products.scale_after:
            scores = g.op("Mul", scores, self._products.scales)
        scores = g.op("Add", scores, g.op("Unsqueeze", self._products.mask, g.integers(1)))
        own, products = self._weighted(own_scores, scores)
        return self._of_all(i, own, products, values), x

    def _scores(self, asking: str) -> str:
        """Of queries in the space of states, (1 or n, rows, state width): (n, rows, longest)."""
        return self._g.op("Add", self._products.matched(asking), self._products.mask)

    def _weighted(self, own: str, products: str) -> list[str]:
        """Scores of the query's tokens and of the product's -> the weights of either."""
        g = self._g
        weights = g.op("Softmax", g.op("Concat", own, products, axis=-1), axis=-1)
        return g.several("Split", weights, self._parts, outputs=2, axis=-1)

    def _of_all(self, i: int, own: str, products: str, own_values: str) -> str:
        """Weights (n, heads, query tokens, tokens) -> (n * query tokens, width)."""
        g, s, name = self._g, self._shape, f"layers.{i}.product_value"
        if self._products.scale_after:
            products = g.op("Mul", products, self._products.scales)
        values = self._products.project(name, self._weights[f"{name}.weight"], s.heads)
        context = g.op("FusedMatMul", products, values, domain=MICROSOFT, transBatchB=1)
        context = g.op("Add", context, g.op("MatMul", own, own_values))
        return self._output(i, g.op("Transpose", context, perm=[0, 2, 1, 3]))

    def _of_first_token(self, i: int, own: str, products: str, own_values: str) -> str:
        """Weights (n, heads, tokens) -> (n, width)."""
        g, s, name = self._g, self._shape, f"layers.{i}."
        output = self._output(i, g.op("MatMul", g.op("Unsqueeze", own, g.integers(2)), own_values))
        means = g.op("MatMul", products, self._products.states)
        means = g.op("Reshape", means, g.integers(-1, s.heads * s.state_width))
        value = self._weights[name + "product_value.weight"]
        folded = answering_weight(value, self._weights[name + "output.weight"], s)
        operand = self._arithmetic.operand(g, f"{i}.means", means)
        return g.op("Add", output, self._arithmetic.linear(g, name + "answering", operand, folded, None))

    def _output(self, i: int, context: str) -> str:
        """The product that follows attention: (..., heads, head size) -> (rows, width)."""
        g, name = self._g, f"layers.{i}.output"
        rows = g.op("Reshape", context, g.integers(-1, self._shape.width))
        operand = self._arithmetic.operand(g, f"{i}.context", rows)
        return self._arithmetic.linear(g, name, operand, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _by_head(self, x: str) -> str:
        """(n * query tokens, width) -> (n, heads, query tokens, head size)."""
        g, s = self._g, self._shape
        sizes = g.op("Concat", self._products.count, g.integers(-1, s.heads, s.head_size), axis=0)
        return g.op("Transpose", g.op("Reshape", x, sizes), perm=[0, 2, 1, 3])

    def _first_tokens(self, x: str) -> str:
        """(n * query tokens, width) -> (n, width)."""
        g = self._g
        sizes = g.op("Concat", self._products.count, g.integers(-1, self._shape.width), axis=0)
        return g.op("Gather", g.op("Reshape", x, sizes), g.constant("first", np.int64(0)), axis=1)

"""The graph of one query and n products: shortcuts, interaction layers, head.

Everything that depends on the query alone comes from the query encoder. A product's logit depends on nothing but the
query and its own tokens: what is rounded has constant scales, and padding has no weight.
"""

from collections.abc import Mapping

import onnx
from onnx import TensorProto

from ..bert import OUTPUT
from ..graph import MICROSOFT, Arithmetic, Float32, Floats, GraphWriter, Tensor
from . import names
from .attention import InteractionAttention
from .shape import InteractionShape, States
from .states import KINDS, ProductTokens


def build_interaction(
    weights: Mapping[str, Floats],
    shape: InteractionShape,
    arithmetic: Arithmetic,
    states: States,
    expose_taps: bool = False,
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph and its taps, each (n * query tokens, width) or (n, width).

    Args:
        weights: state dict of the interaction.
        states: how the products' are kept. In int8, with an int8 arithmetic, weights multiply them as they are.
    """
    graph = _Interaction(weights, shape, arithmetic, states)
    graph.write()
    g, kind = graph.writer, KINDS[states]
    taps = list(dict.fromkeys(g.taps.values())) if expose_taps else []
    inputs = [
        *names.query_tensors(shape),
        Tensor(names.TOKENS, kind, ("n", "longest", shape.state_width)),
        Tensor(names.SCALES, TensorProto.FLOAT, ("n", "longest")),
        Tensor(names.LENGTHS, TensorProto.INT64, ("n",)),
        Tensor(names.POOLED, kind, ("n", shape.width)),
        Tensor(names.POOLED_SCALES, TensorProto.FLOAT, ("n",)),
    ]
    outputs = [
        Tensor(OUTPUT, TensorProto.FLOAT, ("n", 1)),
        *(Tensor(tap, TensorProto.FLOAT, ("rows", "wide")) for tap in taps),
    ]
    return g.model_of("interaction", inputs, outputs), g.taps


class _Interaction:
    def __init__(
        self, weights: Mapping[str, Floats], shape: InteractionShape, arithmetic: Arithmetic, states: States
    ) -> None:
        self.writer = GraphWriter()
        self._weights = weights
        self._shape = shape
        self._arithmetic = arithmetic
        self._kind = states
        int8 = states == "int8" and not isinstance(arithmetic, Float32)
        self._products = ProductTokens(self.writer, states, int8, shape.state_width)

    def write(self) -> None:
        g = self.writer
        logits = self._products.cosine(self._kind)
        if self._shape.max_sim:
            logits = g.op("Add", logits, self._max_sim())
        bias = g.constant("shortcut.bias", self._weights["shortcut.bias"])
        if not self._shape.layers:
            g.op("Add", logits, bias, output=OUTPUT)
            return
        g.op("Add", g.op("Add", logits, bias), self._head(self._layers()), output=OUTPUT)

    def _max_sim(self) -> str:
        """(n, 1): the importance of the query's tokens is in what they are multiplied by."""
        g = self.writer
        similarity = self._products.matched(names.MATCHING)
        best = g.op("ReduceMax", g.op("Add", similarity, self._products.mask), g.integers(2), keepdims=0)
        weight = g.constant("max_sim", self._weights["shortcut.weight"][0, 1])
        return g.op("Mul", g.op("ReduceSum", best, g.integers(1), keepdims=1), weight)

    def _layers(self) -> str:
        """The last layer's output for [CLS]: (n, width)."""
        g, s = self.writer, self._shape
        attention = InteractionAttention(g, self._weights, s, self._arithmetic, self._products)
        x = ""
        for i in range(s.layers):
            cls_only, name = i == s.layers - 1, f"layers.{i}."
            attended, asking = (
                (attention.first(cls_only), names.RESIDUAL) if i == 0 else attention.later(i, x, cls_only)
            )
            x = self._normalised(g.op("Add", attended, asking), name + "attention_norm")
            x = g.op("Reshape", x, g.integers(-1, s.width)) if i == 0 else x
            wide = g.op("Gelu", self._linear(f"{i}.attended", x, name + "inner"), domain=MICROSOFT)
            narrow = self._linear(f"{i}.wide", wide, name + "outer")
            x = self._normalised(g.op("Add", narrow, x), name + "output_norm")
        return x

    def _head(self, x: str) -> str:
        g = self.writer
        pooled = g.op("Tanh", self._linear("pooler.in", x, "pooler"))
        return g.op("MatMul", pooled, g.constant("head", self._weights["head.weight"].T))

    def _linear(self, tag: str, tensor: str, name: str) -> str:
        operand = self._arithmetic.operand(self.writer, tag, tensor)
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return self._arithmetic.linear(self.writer, name, operand, weight, bias)

    def _normalised(self, tensor: str, name: str) -> str:
        g = self.writer
        scale, shift = (g.constant(f"{name}.{part}", self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return g.op("LayerNormalization", tensor, scale, shift, axis=-1, epsilon=self._shape.layer_norm_eps)

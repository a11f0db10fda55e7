"""The compute graph of a BERT cross-encoder with one output, written for latency on CPU.

What differs from a traced graph, with the same result: one product for queries, keys and values; 1/sqrt(d) folded into
the query weights; the mask computed once; tokens of all pairs in one (n * length, width) matrix, so that biases ride in
the products; in the last layer, queries and all that follows for [CLS] alone. Spellings were chosen by measurement
(6 layers in int8, two lanes of a quiet 2-core Zen 5, medians of 30 interleaved rounds): the fused Gelu took 5 % less
than an Erf chain, one transpose for all three 1 % less than one each, this attention 7 % less than MultiHeadAttention.
FastGelu would save 2 % and move logits by .005.

Softmax stays one operator: spelled as Exp, ReduceSum and Div, its sum depends on the padding in the last bit, which
8-bit rounding then amplifies (logits with a spread of .28 moved by up to .09). As it stands, int8 logits were equal to
the bit in every batch on that processor; parity.py checks it at each export.
"""

from dataclasses import dataclass

import numpy as np
import onnx

from .graph import MICROSOFT, Arithmetic, Floats, GraphWriter, Operand

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "logits"

MASKED = 10_000.0
"""Taken off a masked position's attention score: its weight becomes exactly 0 after the softmax."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """The sizes that a graph depends on."""

    layers: int
    hidden_size: int
    heads: int
    layer_norm_eps: float

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads


def build_bert(
    weights: dict[str, Floats], shape: BertShape, arithmetic: Arithmetic, expose_taps: bool = False
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph of transformers' BertForSequenceClassification with one output.

    Args:
        weights: state dict of that class, float32.
        expose_taps: make every tap a graph output, to measure ranges.

    Returns:
        The model (int64 inputs of shape (n, length), `logits` of shape (n, 1)) and its taps, tag -> tensor name.
        A tap is (n * length, width), or (n, width) where the last layer has dropped all tokens but [CLS].
    """
    graph = _BertGraph(weights, shape, arithmetic)
    graph.write()
    taps = graph.writer.taps
    model = graph.writer.model(INPUTS, OUTPUT, tuple(dict.fromkeys(taps.values())) if expose_taps else ())
    return model, taps


class _BertGraph:
    def __init__(self, weights: dict[str, Floats], shape: BertShape, arithmetic: Arithmetic) -> None:
        self.writer = GraphWriter()
        self._weights = weights
        self._shape = shape
        self._arithmetic = arithmetic

    def write(self) -> None:
        g = self.writer
        self._pairs_by_length = g.op("Shape", INPUTS[0])
        x = self._embeddings()
        mask = self._additive_mask()
        for i in range(self._shape.layers):
            x = self._layer(i, x, mask, cls_only=i == self._shape.layers - 1)
        self._head(x)

    def _embeddings(self) -> str:
        g, prefix = self.writer, "bert.embeddings."
        length = g.op("Slice", self._pairs_by_length, g.integers(1), g.integers(2))
        words = self._arithmetic.rows(g, "words", self._weights[prefix + "word_embeddings.weight"], INPUTS[0])
        table = self._weights[prefix + "position_embeddings.weight"]
        positions = self._arithmetic.leading_rows(g, "positions", table, length)
        types = g.op("Gather", g.constant("types", self._weights[prefix + "token_type_embeddings.weight"]), INPUTS[2])
        x = g.op("Add", g.op("Add", words, types), positions)
        x = g.op("Reshape", x, g.integers(-1, self._shape.hidden_size))
        return self._normalised(x, prefix + "LayerNorm")

    def _additive_mask(self) -> str:
        """0 where there is a token and -MASKED where there is padding, (n, 1, 1, length)."""
        g = self.writer
        mask = g.op("Cast", INPUTS[1], to=onnx.TensorProto.FLOAT)
        mask = g.op("Sub", mask, g.constant("one", np.float32(1)))
        mask = g.op("Mul", mask, g.constant("masked", np.float32(MASKED)))
        return g.op("Unsqueeze", mask, g.integers(1, 2))

    def _layer(self, i: int, x: str, mask: str, cls_only: bool) -> str:
        g, name = self.writer, f"bert.encoder.layer.{i}."
        context = self._attention(i, x, mask, cls_only)
        if cls_only:
            x = self._first_tokens(x)
        attended = self._linear(f"{i}.context", context, name + "attention.output.dense")
        x = self._normalised(g.op("Add", attended, x), name + "attention.output.LayerNorm")
        wide = g.op("Gelu", self._linear(f"{i}.attended", x, name + "intermediate.dense"), domain=MICROSOFT)
        narrow = self._linear(f"{i}.wide", wide, name + "output.dense")
        return self._normalised(g.op("Add", narrow, x), name + "output.LayerNorm")

    def _attention(self, i: int, x: str, mask: str, cls_only: bool) -> str:
        g, shape, name = self.writer, self._shape, f"bert.encoder.layer.{i}.attention.self."
        scale = np.float32(1 / np.sqrt(shape.head_size))
        query = [self._weights[f"{name}query.{part}"] * scale for part in ("weight", "bias")]
        key, value = ([self._weights[f"{name}{w}.{part}"] for part in ("weight", "bias")] for w in ("key", "value"))
        operand = self._arithmetic.operand(g, f"{i}.in", x)
        fused = [key, value] if cls_only else [query, key, value]
        weight, bias = (np.concatenate([part[j] for part in fused]) for j in (0, 1))
        product = self._arithmetic.linear(g, f"{name}fused", operand, weight, bias)
        dims = g.integers(len(fused), shape.heads, shape.head_size)
        product = g.op("Reshape", product, g.op("Concat", self._pairs_by_length, dims, axis=0))
        product = g.op("Transpose", product, perm=[2, 0, 3, 1, 4])
        *queries, keys, values = (g.op("Squeeze", t, g.integers(0)) for t in g.split(product, len(fused), axis=0))
        if cls_only:
            first = Operand(self._first_tokens(operand.tensor), operand.tag)
            q = self._arithmetic.linear(g, f"{name}query", first, query[0], query[1])
            queries = [g.op("Reshape", q, g.integers(-1, shape.heads, 1, shape.head_size))]
        scores = g.op("FusedMatMul", queries[0], keys, domain=MICROSOFT, transB=1)
        context = g.op("MatMul", g.op("Softmax", g.op("Add", scores, mask), axis=-1), values)
        context = g.op("Transpose", context, perm=[0, 2, 1, 3])
        return g.op("Reshape", context, g.integers(-1, shape.hidden_size))

    def _first_tokens(self, tensor: str) -> str:
        """(n * length, width) -> (n, width): each pair's [CLS]."""
        g = self.writer
        dims = g.op("Concat", self._pairs_by_length, g.integers(self._shape.hidden_size), axis=0)
        return g.op("Gather", g.op("Reshape", tensor, dims), g.constant("first", np.int64(0)), axis=1)

    def _head(self, x: str) -> None:
        g, w = self.writer, self._weights
        pooler = [g.constant(f"pooler.{part}", w[f"bert.pooler.dense.{part}"]) for part in ("weight", "bias")]
        pooled = g.op("Tanh", g.op("Gemm", x, *pooler, transB=1))
        classifier = [g.constant(f"classifier.{part}", w[f"classifier.{part}"]) for part in ("weight", "bias")]
        g.op("Gemm", pooled, *classifier, transB=1, output=OUTPUT)

    def _linear(self, tag: str, tensor: str, name: str) -> str:
        operand = self._arithmetic.operand(self.writer, tag, tensor)
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return self._arithmetic.linear(self.writer, name, operand, weight, bias)

    def _normalised(self, tensor: str, name: str) -> str:
        g = self.writer
        scale, shift = (g.constant(f"{name}.{part}", self._weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return g.op("LayerNormalization", tensor, scale, shift, axis=-1, epsilon=self._shape.layer_norm_eps)

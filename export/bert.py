"""The compute graph of BERT and of the families that compute like it, with one output, written for latency on CPU.

`families/` says how each of them becomes the shape and the weights that are read here.

What differs from a traced graph, with the same result: 1/sqrt(d) folded into the query weights; biases of keys and
values folded away; lengths in place of a mask; tokens of all pairs in one (n * length, width) matrix, so that biases
ride in the products; in the last layer, queries and all that follows for [CLS] alone. The fused Gelu took 5 % less than
an Erf chain (6 layers in int8, two lanes of a quiet 2-core Zen 5, medians of 30 interleaved rounds); FastGelu would
save 2 % and move logits by .005. SkipLayerNormalization takes 8 times as long as Add and LayerNormalization.

Softmax stays one operator: spelled as Exp, ReduceSum and Div, its sum depends on the padding in the last bit, which
8-bit rounding then amplifies (logits with a spread of .28 moved by up to .09). As it stands, int8 logits were equal to
the bit in every batch on that processor; parity.py checks it at each export.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from .attention import Batch, Projections, SelfAttention, Spelling
from .graph import MICROSOFT, Arithmetic, Floats, GraphWriter
from .head import write_one_logit

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT = "logits"


Activation = Literal["gelu", "tanh gelu", "relu", "tanh"]
"""`gelu` is the exact one, `tanh gelu` its approximation by a hyperbolic tangent."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """The sizes and variations that a graph depends on.

    Attributes:
        embedding_size: width of the embeddings; where it is not the hidden size, a product follows them.
        activation: between the two products of a layer.
        head_activation: between the two products of the head.
        token_types: whether the graph reads token_type_ids.
        gains: one for each output of the head, see head.py; empty for one output.
    """

    layers: int
    hidden_size: int
    heads: int
    layer_norm_eps: float
    embedding_size: int
    activation: Activation = "gelu"
    head_activation: Activation = "tanh"
    token_types: bool = True
    gains: tuple[float, ...] = ()

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the graph reads."""
        return INPUTS if self.token_types else INPUTS[:2]


def build_bert(
    weights: dict[str, Floats],
    shape: BertShape,
    arithmetic: Arithmetic,
    spelling: Spelling = "fused",
    expose_taps: bool = False,
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph of transformers' BertForSequenceClassification, its outputs made one.

    Args:
        weights: state dict of that class, float32; without token type embeddings where the shape has none, and with
            `bert.embeddings_project` where the embeddings have a width of their own.
        spelling: of the attention.
        expose_taps: make every tap a graph output, to measure ranges.

    Returns:
        The model (int64 inputs of shape (n, length), `logits` of shape (n, 1)) and its taps, tag -> tensor name.
        A tap is (n * length, width), or (n, width) where the last layer has dropped all tokens but [CLS].
    """
    writer = GraphWriter()
    layers = BertLayers(writer, weights, shape, arithmetic, spelling)
    x = layers.embeddings()
    for i in range(shape.layers):
        x = layers.layer(i, x, cls_only=i == shape.layers - 1)
    _write_head(layers, x)
    taps = writer.taps
    model = writer.model(shape.inputs, OUTPUT, tuple(dict.fromkeys(taps.values())) if expose_taps else ())
    return model, taps


class BertLayers:
    """Embeddings and layers, written one call at a time.

    Args:
        writer: gets the nodes; its graph must have the inputs that the shape names.
        weights, shape, arithmetic, spelling: as `build_bert` takes them.
    """

    def __init__(
        self,
        writer: GraphWriter,
        weights: dict[str, Floats],
        shape: BertShape,
        arithmetic: Arithmetic,
        spelling: Spelling,
    ) -> None:
        self.writer = writer
        self.weights = weights
        self.shape = shape
        self._arithmetic = arithmetic
        self._spelling = spelling
        self._pairs_by_length = writer.op("Shape", INPUTS[0])
        self.batch = Batch.of(writer, spelling, INPUTS[1], self._pairs_by_length, shape.hidden_size)

    def embeddings(self) -> str:
        """Of all tokens: (n * length, width)."""
        g, prefix = self.writer, "bert.embeddings."
        length = g.op("Slice", self._pairs_by_length, g.integers(1), g.integers(2))
        words = self._arithmetic.rows(g, "words", self.weights[prefix + "word_embeddings.weight"], INPUTS[0])
        table = self.weights[prefix + "position_embeddings.weight"]
        positions = self._arithmetic.leading_rows(g, "positions", table, length)
        if self.shape.token_types:
            types = g.constant("types", self.weights[prefix + "token_type_embeddings.weight"])
            words = g.op("Add", words, g.op("Gather", types, INPUTS[2]))
        x = g.op("Reshape", g.op("Add", words, positions), g.integers(-1, self.shape.embedding_size))
        x = self._normalised(x, prefix + "LayerNorm")
        projected = self.shape.embedding_size != self.shape.hidden_size
        return self._linear("embedded", x, "bert.embeddings_project") if projected else x

    def layer(self, i: int, x: str, cls_only: bool = False) -> str:
        """Layer i's output for all tokens, (n * length, width), or for each text's [CLS], (n, width)."""
        g, name = self.writer, f"bert.encoder.layer.{i}."
        attended = self._attention(i, x, cls_only)
        if cls_only:
            x = self._first_tokens(x)
        x = self._normalised(g.op("Add", attended, x), name + "attention.output.LayerNorm")
        wide = self.activated(self._linear(f"{i}.attended", x, name + "intermediate.dense"), self.shape.activation)
        narrow = self._linear(f"{i}.wide", wide, name + "output.dense")
        return self._normalised(g.op("Add", narrow, x), name + "output.LayerNorm")

    def _attention(self, i: int, x: str, cls_only: bool) -> str:
        """The layer's attention and the product that follows it: (n * length, width), or (n, width).

        A key's bias shifts all scores of a query alike, which softmax ignores; a value's adds the same vector to every
        context, for its weights sum to 1, so that it moves into the bias of the product that follows.
        """
        g, shape, name = self.writer, self.shape, f"bert.encoder.layer.{i}.attention."
        scale = np.float32(1 / np.sqrt(shape.head_size))
        (query, query_bias), (key, _), (value, value_bias) = (
            self._weights_of(f"{name}self.{part}") for part in ("query", "key", "value")
        )
        projections: Projections = {
            "query": (query * scale, query_bias * scale),
            "key": (key, None),
            "value": (value, None),
        }
        tokens = self._arithmetic.operand(g, f"{i}.in", x)
        layer = SelfAttention(g, self._arithmetic, self.batch, f"{name}self", shape.heads, shape.head_size, cls_only)
        context = self._arithmetic.operand(g, f"{i}.context", layer.write(self._spelling, tokens, projections))
        weight, bias = self._weights_of(name + "output.dense")
        bias = (bias + weight.astype(np.float64) @ value_bias).astype(np.float32)
        return self._arithmetic.linear(g, name + "output.dense", context, weight, bias)

    def _first_tokens(self, tensor: str) -> str:
        """(n * length, width) -> (n, width): each pair's [CLS]."""
        g = self.writer
        by_pair = g.op("Reshape", tensor, self.batch.by_token)
        return g.op("Gather", by_pair, g.constant("first", np.int64(0)), axis=1)

    def _weights_of(self, name: str) -> tuple[Floats, Floats]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def activated(self, tensor: str, activation: Activation) -> str:
        """The function of each value."""
        g = self.writer
        match activation:
            case "gelu":
                return g.op("Gelu", tensor, domain=MICROSOFT)
            case "tanh gelu":
                return g.op("FastGelu", tensor, domain=MICROSOFT)
            case "relu":
                return g.op("Relu", tensor)
            case "tanh":
                return g.op("Tanh", tensor)

    def _linear(self, tag: str, tensor: str, name: str) -> str:
        operand = self._arithmetic.operand(self.writer, tag, tensor)
        return self._arithmetic.linear(self.writer, name, operand, *self._weights_of(name))

    def _normalised(self, tensor: str, name: str) -> str:
        g = self.writer
        scale, shift = (g.constant(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return g.op("LayerNormalization", tensor, scale, shift, axis=-1, epsilon=self.shape.layer_norm_eps)


def _write_head(layers: BertLayers, x: str) -> None:
    """Pooler, classifier and what makes one logit of several, over each pair's [CLS], (n, width)."""
    g, w, shape = layers.writer, layers.weights, layers.shape
    pooler = [g.constant(f"pooler.{part}", w[f"bert.pooler.dense.{part}"]) for part in ("weight", "bias")]
    pooled = layers.activated(g.op("Gemm", x, *pooler, transB=1), shape.head_activation)
    classifier = [g.constant(f"classifier.{part}", w[f"classifier.{part}"]) for part in ("weight", "bias")]
    if not shape.gains:
        g.op("Gemm", pooled, *classifier, transB=1, output=OUTPUT)
    else:
        write_one_logit(g, g.op("Gemm", pooled, *classifier, transB=1), shape.gains, OUTPUT)


def unlike_bert(shape: BertShape, int8: bool) -> Counter[str]:
    """How many operators more (or, negative, fewer) the optimised graph has than BERT's of as many layers."""
    more: Counter[str] = Counter()
    if shape.embedding_size != shape.hidden_size:
        more.update({"MatMulIntegerToFloat": 1, "QuantizeLinear": 1} if int8 else {"Gemm": 1})
    if shape.activation != "gelu":
        more["Gelu"] -= shape.layers
    if shape.activation == "relu" and not int8:
        more.update({"Gemm": -shape.layers, "FusedGemm": shape.layers})
    if shape.head_activation == "gelu":
        more.update({"Gemm": 1, "FusedGemm": -1, "Gelu": 1})
    return more

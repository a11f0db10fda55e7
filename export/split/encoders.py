"""The graphs of the two encoders: BERT's layers over all tokens of a text, and what is made of their states."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto

from artifact.product_states import ZERO_POINT

from ..attention import Spelling
from ..bert import BertLayers, BertShape
from ..graph import Arithmetic, Floats, GraphWriter, Tensor
from . import names
from .shape import InteractionShape, States, by_head

SMALLEST_NORM = 1e-12
SMALLEST_SCALE = 1e-9
LARGEST = 127.0
"""Of the integers that a state's numbers become, on either side of the zero point."""


class EncodedTexts(ABC):
    """A graph that begins with the states of texts.

    Attributes:
        states: (n * length, width), of every token.
        by_text: the same, (n, length, width).
        inputs: of the graph.
    """

    def __init__(self, writer: GraphWriter, states: str, by_text: str, inputs: list[Tensor]) -> None:
        self.writer = writer
        self.states = states
        self.by_text = by_text
        self.inputs = inputs

    @abstractmethod
    def pooled(self) -> str:
        """The mean of each text's states, padding left out, at unit length: (n, width)."""

    def projected(self, weights: Mapping[str, Floats], shape: InteractionShape) -> str:
        """What is kept of a token: (n * length, state width), at unit length.

        The encoder's states need no unit length before they are projected, for the projection has no bias.
        """
        g, x = self.writer, self.states
        if shape.projected:
            x = g.op("MatMul", x, g.constant("projection", weights["projection.weight"].T))
        return unit(g, x)

    def model(self, name: str, outputs: list[Tensor], expose_taps: bool) -> onnx.ModelProto:
        """The finished graph."""
        taps = list(dict.fromkeys(self.writer.taps.values())) if expose_taps else []
        return self.writer.model_of(
            name, self.inputs, [*outputs, *(Tensor(tap, TensorProto.FLOAT, ("rows", "wide")) for tap in taps)]
        )


class TextGraph(EncodedTexts):
    """A BERT encoder over the texts of the graph's inputs."""

    def __init__(
        self, weights: dict[str, Floats], shape: BertShape, arithmetic: Arithmetic, spelling: Spelling = "fused"
    ) -> None:
        g = GraphWriter()
        layers = BertLayers(g, weights, shape, arithmetic, spelling)
        x = layers.embeddings()
        for i in range(shape.layers):
            x = layers.layer(i, x)
        inputs = [Tensor(each, TensorProto.INT64, ("n", "length")) for each in names.TEXT_INPUTS]
        super().__init__(g, x, g.op("Reshape", x, layers.batch.by_token), inputs)

    def pooled(self) -> str:
        """See EncodedTexts.

        The sum is a product with two equal rows: with one, its last bit would depend on the padding (attention.py).
        """
        g = self.writer
        mask = g.op("Unsqueeze", g.op("Cast", names.TEXT_INPUTS[1], to=TensorProto.FLOAT), g.integers(1))
        sums = g.op("MatMul", g.op("Concat", mask, mask, axis=1), self.by_text)
        return unit(g, g.op("Gather", sums, g.constant("first", np.int64(0)), axis=1))


class StatesGraph(EncodedTexts):
    """The states of one text, not padded, that another graph computed."""

    def __init__(self, width: int) -> None:
        g = GraphWriter()
        inputs = [Tensor(names.STATES, TensorProto.FLOAT, (1, "length", width))]
        super().__init__(g, g.op("Reshape", names.STATES, g.integers(-1, width)), names.STATES, inputs)

    def pooled(self) -> str:
        """See EncodedTexts."""
        g = self.writer
        return unit(g, g.op("ReduceMean", self.by_text, g.integers(1), keepdims=0))


def unit(g: GraphWriter, x: str) -> str:
    """Rows at unit length."""
    norm = g.op("ReduceL2", x, g.integers(-1), keepdims=1)
    return g.op("Div", x, g.op("Max", norm, g.constant("smallest_norm", np.float32(SMALLEST_NORM))))


def build_product_encoder(
    weights: dict[str, Floats],
    shape: BertShape,
    interaction: Mapping[str, Floats],
    interaction_shape: InteractionShape,
    arithmetic: Arithmetic,
    states: States,
    spelling: Spelling = "fused",
    expose_taps: bool = False,
    shared: bool = False,
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph from product texts to their states, and its taps.

    Args:
        weights: of the encoder, under the names of `build_bert`, token types folded into the positions.
        interaction: its weights, of which the projection is read.
        states: whether they leave the graph as floats or as integers with a scale for each token.
        shared: whether it encodes queries too, whose states leave it as they are.
    """
    text = TextGraph(weights, shape, arithmetic, spelling)
    g, width = text.writer, interaction_shape.state_width
    kept = text.projected(interaction, interaction_shape)
    dims = g.op("Concat", g.op("Shape", names.TEXT_INPUTS[0]), g.integers(width), axis=0)
    _leave(g, g.op("Reshape", kept, dims), states, names.TOKENS, names.SCALES)
    _leave(g, text.pooled(), states, names.POOLED, names.POOLED_SCALES)
    kind = TensorProto.UINT8 if states == "int8" else TensorProto.FLOAT
    outputs = [
        Tensor(names.TOKENS, kind, ("n", "length", width)),
        Tensor(names.SCALES, TensorProto.FLOAT, ("n", "length")),
        Tensor(names.POOLED, kind, ("n", interaction_shape.width)),
        Tensor(names.POOLED_SCALES, TensorProto.FLOAT, ("n",)),
    ]
    if shared:
        g.op("Identity", text.by_text, output=names.STATES)
        outputs.append(Tensor(names.STATES, TensorProto.FLOAT, ("n", "length", interaction_shape.width)))
    return text.model("product-encoder", outputs, expose_taps), g.taps


def build_query_encoder(
    encoder: tuple[dict[str, Floats], BertShape] | None,
    interaction: Mapping[str, Floats],
    interaction_shape: InteractionShape,
    arithmetic: Arithmetic,
    spelling: Spelling = "fused",
    expose_taps: bool = False,
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph from one query's text, not padded, to all that the interaction needs of it, and its taps.

    Args:
        encoder: weights and shape as of the product encoder. None: the query's states come from that one.
    """
    text: EncodedTexts
    text = StatesGraph(interaction_shape.width) if encoder is None else TextGraph(*encoder, arithmetic, spelling)
    g, s = text.writer, interaction_shape
    cosine = g.constant("cosine", interaction["shortcut.weight"][0, 0])
    g.op("Mul", text.pooled(), cosine, output=names.QUERY_VECTOR)
    if s.max_sim:
        weighted = g.op("Mul", text.projected(interaction, s), _importance(text, interaction))
        g.op("Unsqueeze", weighted, g.integers(0), output=names.MATCHING)
    if s.layers:
        _write_first_layer(text, interaction, s, arithmetic)
    return text.model("query-encoder", names.query_tensors(s), expose_taps), g.taps


def _leave(g: GraphWriter, x: str, states: States, values: str, scales: str) -> None:
    """Makes `x` (..., width) the output `values`, with a scale for each row."""
    if states == "fp32":
        g.op("Identity", x, output=values)
        rows = g.op("Slice", g.op("Shape", x), g.integers(0), g.integers(-1))
        one = onnx.numpy_helper.from_array(np.ones(1, np.float32))
        g.op("ConstantOfShape", rows, output=scales, value=one)
        return
    largest = g.op("ReduceMax", g.op("Abs", x), g.integers(-1), keepdims=1)
    scale = g.op("Div", largest, g.constant("largest", np.float32(LARGEST)))
    scale = g.op("Max", scale, g.constant("smallest_scale", np.float32(SMALLEST_SCALE)))
    integers = g.op("Round", g.op("Div", x, scale))
    integers = g.op("Add", integers, g.constant("zero_point", np.float32(ZERO_POINT)))
    g.op("Cast", integers, to=TensorProto.UINT8, output=values)
    g.op("Squeeze", scale, g.integers(-1), output=scales)


def _importance(text: EncodedTexts, interaction: Mapping[str, Floats]) -> str:
    """How much each token counts in MaxSim, (length, 1): 0 for special ones, unless the query has no others."""
    g = text.writer
    weight, bias = (interaction[f"importance.{part}"] for part in ("weight", "bias"))
    scores = g.op("Gemm", text.states, g.constant("importance.weight", weight.T), g.constant("importance.bias", bias))
    length = g.op("Gather", g.op("Shape", text.by_text), g.constant("second", np.int64(1)))
    zero, one, two = (g.constant(f"scalar_{i}", np.int64(i)) for i in range(3))
    place = g.op("Range", zero, length, one)
    inside = g.op("And", g.op("Greater", place, zero), g.op("Less", place, g.op("Sub", length, one)))
    own = g.op("Or", inside, g.op("LessOrEqual", length, two))
    own = g.op("Unsqueeze", own, g.integers(1))
    scores = g.op("Where", own, scores, g.constant("never", np.float32(-np.inf)))
    return g.op("Softmax", scores, axis=0)


def _write_first_layer(
    text: EncodedTexts, interaction: Mapping[str, Floats], s: InteractionShape, arithmetic: Arithmetic
) -> None:
    """What the first interaction layer needs of the query's tokens alone; of [CLS] alone where it is the last too."""
    g = text.writer
    tokens = arithmetic.operand(g, "interaction.0.in", text.states)
    query, key, value = (
        _heads_first(g, arithmetic.linear(g, f"interaction.0.{part}", tokens, *_projection(interaction, part, s)), s)
        for part in ("query", "key", "value")
    )
    residual = text.by_text
    if s.layers == 1:
        query, residual = (
            g.op("Slice", tensor, g.integers(0), g.integers(1), g.integers(1)) for tensor in (query, residual)
        )
    g.op("Identity", residual, output=names.RESIDUAL)
    keys = g.constant("product_keys", by_head(interaction["layers.0.product_key.weight"], s))
    for name, by_heads in (
        (names.ASKING, g.op("MatMul", query, keys)),
        (names.OWN_SCORES, g.op("MatMul", query, g.op("Transpose", key, perm=[0, 2, 1]))),
    ):
        rows = g.op(
            "Concat", g.integers(1, -1), g.op("Slice", g.op("Shape", by_heads), g.integers(2), g.integers(3)), axis=0
        )
        g.op("Reshape", by_heads, rows, output=name)
    g.op("Unsqueeze", value, g.integers(0), output=names.OWN_VALUES)


def _projection(interaction: Mapping[str, Floats], part: str, s: InteractionShape) -> tuple[Floats, Floats | None]:
    weight, bias = interaction[f"layers.0.{part}.weight"], interaction.get(f"layers.0.{part}.bias")
    if part != "query" or bias is None:
        return weight, bias
    scale = np.float32(1 / np.sqrt(s.head_size))
    return weight * scale, bias * scale


def _heads_first(g: GraphWriter, x: str, s: InteractionShape) -> str:
    """(length, width) -> (heads, length, head size)."""
    return g.op("Transpose", g.op("Reshape", x, g.integers(-1, s.heads, s.head_size)), perm=[1, 0, 2])

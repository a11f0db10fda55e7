"""The compute graph of a BERT cross-encoder for ONNX Runtime on CUDA: fp16 products, padding removed.

After the embeddings the tokens of all pairs stand one after another, (tokens, width), so that products, attention and
normalisation compute no padding. Biases ride in the operator that follows a product: attention, BiasGelu,
SkipLayerNormalization. The last layer attends for all tokens, which costs 1/12 of a layer more than queries for [CLS]
alone, needs no padded copy of keys and values, and leaves one kernel for all layers; then each pair's first row goes on
and the others are dropped, so that padding need not be restored.

Products add up in fp32 and give fp16. Normalisation takes its statistics in fp32: always in newer versions of ONNX
Runtime, in older ones if the session says `enable_skip_layer_norm_strict_mode`. Pooler and classifier are fp32.

`packed=False` keeps the padding: all shapes then follow from those of the inputs, which CUDA graphs need. RemovePadding
waits for the GPU to learn how many tokens there are.
"""

import numpy as np
import onnx
from numpy.typing import NDArray

from .bert import INPUTS, OUTPUT, BertShape
from .errors import ExportError
from .graph import MICROSOFT, Floats, GraphWriter

OPSET, IR_VERSION = 18, 8
"""The oldest that suffice: a version without a CUDA kernel would run on CPU, between copies."""

LARGEST_FP16 = 65_504


def build_cuda(weights: dict[str, Floats], shape: BertShape, packed: bool = True) -> onnx.ModelProto:
    """The graph of transformers' BertForSequenceClassification with one output.

    Args:
        weights: state dict of that class, float32.
        packed: without padding; else padded, for CUDA graphs.

    Returns:
        The model: int64 inputs of shape (n, length), padding on the right, float32 `logits` of shape (n, 1).

    Raises:
        ExportError: a weight is outside fp16's range.
    """
    graph = _CudaGraph(weights, shape, packed)
    graph.write()
    return graph.writer.model(INPUTS, OUTPUT, opset=OPSET, ir_version=IR_VERSION)


class _CudaGraph:
    def __init__(self, weights: dict[str, Floats], shape: BertShape, packed: bool) -> None:
        self.writer = GraphWriter()
        self._weights = weights
        self._shape = shape
        self._packed = packed
        self._token_offset = self._cumulative = ""

    def write(self) -> None:
        g = self.writer
        mask = g.op("Cast", INPUTS[1], to=onnx.TensorProto.INT32)
        self._lengths = g.op("ReduceSum", mask, g.integers(1), keepdims=0)
        x = self._embeddings()
        if self._packed:
            x, self._token_offset, self._cumulative, _ = g.several(
                "RemovePadding", x, self._lengths, outputs=4, domain=MICROSOFT
            )
        for i in range(self._shape.layers):
            x = self._layer(f"bert.encoder.layer.{i}.", x, cls_only=i == self._shape.layers - 1)
        self._head(x)

    def _embeddings(self) -> str:
        """(n, length, width)."""
        g, prefix = self.writer, "bert.embeddings."
        words = g.op("Gather", self._half(prefix + "word_embeddings.weight"), INPUTS[0])
        types = g.op("Gather", self._half(prefix + "token_type_embeddings.weight"), INPUTS[2])
        length = g.op("Slice", g.op("Shape", INPUTS[0]), g.integers(1), g.integers(2))
        table = self._half(prefix + "position_embeddings.weight")
        positions = g.op("Slice", table, g.integers(0), length, g.integers(0))
        scale, shift = (self._half(f"{prefix}LayerNorm.{part}") for part in ("weight", "bias"))
        # The two that are added last have one shape: with fp32 statistics the operator does not broadcast.
        inputs = (g.op("Add", words, positions), types, scale, shift)
        return g.op("SkipLayerNormalization", *inputs, domain=MICROSOFT, epsilon=self._shape.layer_norm_eps)

    def _layer(self, name: str, x: str, cls_only: bool) -> str:
        g = self.writer
        context = self._attention(name + "attention.self.", x)
        if cls_only:
            context, x = self._first_tokens(context), self._first_tokens(x)
        x = self._residual(context, x, name + "attention.output")
        wide = self._product(x, name + "intermediate.dense")
        wide = g.op("BiasGelu", wide, self._half(name + "intermediate.dense.bias"), domain=MICROSOFT)
        return self._residual(wide, x, name + "output")

    def _attention(self, name: str, x: str) -> str:
        """softmax(Q K^T / sqrt(head size)) V for each head, in the shape of x.

        Packed, the columns of the one product are (head, query or key or value, within the head), the order that
        PackedMultiHeadAttention reads in place; its bias is always (query or key or value, head, within the head).
        """
        g, shape = self.writer, self._shape
        parts = [f"{name}{part}" for part in ("query", "key", "value")]
        weight = np.stack([self._weights[f"{part}.weight"] for part in parts])
        if self._packed:
            weight = weight.reshape(3, shape.heads, shape.head_size, -1).swapaxes(0, 1)
        weight = weight.reshape(3 * shape.hidden_size, -1)
        product = g.op("MatMul", x, self._constant(f"{name}qkv.weight", weight.T))
        bias = self._constant(f"{name}qkv.bias", np.concatenate([self._weights[f"{part}.bias"] for part in parts]))
        if not self._packed:
            separate = g.split(product, 3, axis=2)
            inputs = (*separate, bias, self._lengths)
            return g.op("MultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=shape.heads)
        together = g.op("Reshape", product, g.integers(-1, shape.heads, 3, shape.head_size))
        inputs = (together, "", "", bias, self._token_offset, self._cumulative)
        return g.op("PackedMultiHeadAttention", *inputs, domain=MICROSOFT, num_heads=shape.heads)

    def _first_tokens(self, tensor: str) -> str:
        """(n, width): each pair's [CLS]."""
        g = self.writer
        if not self._packed:
            return g.op("Gather", tensor, g.constant("first", np.int64(0)), axis=1)
        starts = g.op("Slice", self._cumulative, g.integers(0), g.integers(-1), g.integers(0))
        return g.op("Gather", tensor, starts, axis=0)

    def _residual(self, tensor: str, x: str, name: str) -> str:
        """LayerNorm(x + tensor times the weights of `name`.dense + bias)."""
        inputs = (
            self._product(tensor, f"{name}.dense"),
            x,
            *(self._half(f"{name}.{part}") for part in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")),
        )
        epsilon = self._shape.layer_norm_eps
        return self.writer.op("SkipLayerNormalization", *inputs, domain=MICROSOFT, epsilon=epsilon)

    def _head(self, x: str) -> None:
        g, w = self.writer, self._weights
        x = g.op("Cast", x, to=onnx.TensorProto.FLOAT)
        pooler = [g.constant(f"pooler.{part}", w[f"bert.pooler.dense.{part}"]) for part in ("weight", "bias")]
        pooled = g.op("Tanh", g.op("Gemm", x, *pooler, transB=1))
        classifier = [g.constant(f"classifier.{part}", w[f"classifier.{part}"]) for part in ("weight", "bias")]
        g.op("Gemm", pooled, *classifier, transB=1, output=OUTPUT)

    def _product(self, tensor: str, name: str) -> str:
        weight = self._constant(f"{name}.weight", self._weights[f"{name}.weight"].T)
        return self.writer.op("MatMul", tensor, weight)

    def _half(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _constant(self, name: str, value: Floats) -> str:
        return self.writer.constant(name, as_fp16(name, value))


def as_fp16(name: str, value: Floats) -> NDArray[np.float16]:
    """The nearest fp16 values.

    Raises:
        ExportError: one is outside fp16's range.
    """
    largest = float(np.abs(value).max())
    if largest > LARGEST_FP16:
        raise ExportError(f"{name} holds {largest:.3g}, outside fp16's range of {LARGEST_FP16:,}: leave cuda-fp16 out")
    return value.astype(np.float16)

"""Evaluates CUDA graphs without a GPU: numpy after what ONNX Runtime documents of each operator.

Products, attention and normalisation compute in fp32 and round their result to fp16, as the CUDA kernels do; in what
order these add up is their own affair, so agreement with a GPU is to fp16's precision, not to the bit. Slow.
"""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from .bert import OUTPUT
from .graph import MICROSOFT, Floats
from .runtime import Feeds, Run

Array = NDArray[Any]


def reference_run(model: onnx.ModelProto) -> Run:
    """The graph as a function from feeds to logits (n,), in numpy."""
    evaluator = ReferenceEvaluator(model, new_ops=OPERATORS)

    def run(feeds: Feeds) -> Floats:
        logits: Floats = evaluator.run([OUTPUT], feeds)[0][:, 0]
        return logits

    return run


class MatMul(OpRun):  # type: ignore[misc]
    op_domain = ""

    def _run(self, a: Array, b: Array) -> tuple[Array]:
        return ((_wide(a) @ _wide(b)).astype(a.dtype),)


class RemovePadding(OpRun):  # type: ignore[misc]
    op_domain = MICROSOFT

    def _run(self, x: Array, lengths: Array) -> tuple[Array, ...]:
        """(n, length, width) -> (tokens, width), offsets of tokens and then of padding, ends of pairs, the longest."""
        is_token = (np.arange(x.shape[1]) < lengths[:, None]).ravel()
        offsets = np.concatenate([np.flatnonzero(is_token), np.flatnonzero(~is_token)])
        packed = x.reshape(-1, x.shape[2])[is_token]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        integers = (offsets.reshape(x.shape[:2]), ends, lengths.max(keepdims=True))
        return packed, *(each.astype(np.int32) for each in integers)


class PackedMultiHeadAttention(OpRun):  # type: ignore[misc]
    op_domain = MICROSOFT

    def _run(
        self, qkv: Array, key: None, value: None, bias: Array, offsets: Array, ends: Array, num_heads: int, **_: Any
    ) -> tuple[Array]:
        """qkv (tokens, heads, 3, head size) -> (tokens, width)."""
        tokens, heads, three, head_size = qkv.shape
        if (key, value, heads, three, offsets.size >= tokens) != (None, None, num_heads, 3, True):
            raise ValueError(f"not as PackedMultiHeadAttention reads it: {qkv.shape}, {offsets.shape}")
        added = _wide(qkv).transpose(2, 0, 1, 3) + _wide(bias).reshape(3, 1, heads, head_size)
        query, keys, values = added.astype(qkv.dtype)
        pairs = [slice(start, end) for start, end in pairwise(ends)]
        return (np.concatenate([_attended(query[p], keys[p], values[p]) for p in pairs]),)


class MultiHeadAttention(OpRun):  # type: ignore[misc]
    op_domain = MICROSOFT

    def _run(
        self, query: Array, key: Array, value: Array, bias: Array, lengths: Array, num_heads: int, **_: Any
    ) -> tuple[Array]:
        """Each (n, length, width); padding attends too, but nothing attends to it."""
        shape = (*query.shape[:2], num_heads, -1)
        biases = np.split(_wide(bias), 3)
        parts = ((_wide(part) + b).astype(query.dtype) for part, b in zip((query, key, value), biases, strict=True))
        q, k, v = (part.reshape(shape) for part in parts)
        return (np.stack([_attended(q[i], k[i, :length], v[i, :length]) for i, length in enumerate(lengths)]),)


class SkipLayerNormalization(OpRun):  # type: ignore[misc]
    op_domain = MICROSOFT

    def _run(
        self, x: Array, skip: Array, scale: Array, shift: Array, bias: Array | None = None, epsilon: float = 0
    ) -> tuple[Array]:
        if x.shape != skip.shape:
            raise ValueError(f"SkipLayerNormalization adds tensors of one shape, not {x.shape} and {skip.shape}")
        added = _wide(x) + _wide(skip) + (0 if bias is None else _wide(bias))
        return (_normalised(_wide(added.astype(x.dtype)), scale, shift, epsilon).astype(x.dtype),)


class BiasGelu(OpRun):  # type: ignore[misc]
    op_domain = MICROSOFT

    def _run(self, x: Array, bias: Array) -> tuple[Array]:
        total = _wide((_wide(x) + _wide(bias)).astype(x.dtype))
        erf = np.vectorize(math.erf, otypes=[np.float32])
        return ((total / 2 * (1 + erf(total / math.sqrt(2)))).astype(x.dtype),)


OPERATORS = [
    MatMul,
    RemovePadding,
    PackedMultiHeadAttention,
    MultiHeadAttention,
    SkipLayerNormalization,
    BiasGelu,
]


def _wide(array: Array) -> Floats:
    return array.astype(np.float32)


def _normalised(x: Floats, scale: Array, shift: Array, epsilon: float) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    normalised: Floats = centred / deviation * _wide(scale) + _wide(shift)
    return normalised


def _attended(query: Array, keys: Array, values: Array) -> Array:
    """One pair's softmax(Q K^T / sqrt(head size)) V: (queries, heads, head size) -> (queries, width).

    Weights are rounded to fp16 before they meet the values, as the kernels do.
    """
    q, k, v = (_wide(part).swapaxes(0, 1) for part in (query, keys, values))
    scores = q @ k.swapaxes(1, 2) / np.float32(math.sqrt(query.shape[2]))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = (weights / weights.sum(axis=-1, keepdims=True)).astype(query.dtype)
    context = (_wide(weights) @ v).swapaxes(0, 1)
    return context.reshape(len(query), -1).astype(query.dtype)

"""What one run of a variant takes by its shape: the manifest's latency table, where a service's predictions start."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from artifact import LatencyPoint

from .bert import OUTPUT
from .runtime import Feeds, open_session, read_by
from .timing import in_turn

LENGTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
BATCH_TOKENS = (64, 128, 256)
"""Padded tokens of a micro-batch, about: a quarter, a half and all of the service's usual budget."""

ROUNDS = 9


def shapes(max_tokens: int) -> list[tuple[int, int]]:
    """(pairs, tokens of each) that are measured: every length up to the model's limit, alone and in micro-batches."""
    lengths = sorted({*(length for length in LENGTHS if length < max_tokens), max_tokens})
    return [
        (pairs, length) for length in lengths for pairs in sorted({1, *(max(1, n // length) for n in BATCH_TOKENS)})
    ]


def measure_latency(model: bytes, max_tokens: int, vocab_size: int, rounds: int = ROUNDS) -> list[LatencyPoint]:
    """Median seconds of a run of each shape on one thread, the shapes taking turns.

    Args:
        model: an ONNX graph for CPU.
        max_tokens: of a pair.
        vocab_size: ids stay below it.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    session = open_session(model)
    work = {
        f"{pairs} x {tokens}": partial(session.run, [OUTPUT], read_by(session, _feeds(pairs, tokens, vocab_size)))
        for pairs, tokens in shapes(max_tokens)
    }
    seconds = in_turn(work, rounds)
    return [
        LatencyPoint(pairs=pairs, tokens=tokens, seconds=float(np.median(seconds[f"{pairs} x {tokens}"])))
        for pairs, tokens in shapes(max_tokens)
    ]


def describe(points: list[LatencyPoint]) -> str:
    """One pair and the largest micro-batch of the shortest and the longest length, in words."""
    lengths = [min(point.tokens for point in points), max(point.tokens for point in points)]
    return ", ".join(_sentences(points, lengths))


def _sentences(points: list[LatencyPoint], lengths: list[int]) -> Iterator[str]:
    for tokens in lengths:
        of_length = [point for point in points if point.tokens == tokens]
        for point in (of_length[0], of_length[-1]):
            yield f"{point.pairs} x {point.tokens} tokens {point.seconds * 1e3:.2f} ms"


def _feeds(pairs: int, tokens: int, vocab_size: int) -> Feeds:
    shape = (pairs, tokens)
    ids = np.random.default_rng(tokens).integers(min(1000, vocab_size - 1), vocab_size, shape)
    return {
        "input_ids": ids,
        "attention_mask": np.ones(shape, dtype=np.int64),
        "token_type_ids": np.zeros(shape, dtype=np.int64),
    }

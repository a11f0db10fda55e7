"""What a run of the interaction, and of the product encoder, takes by its shape: where predictions start."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from artifact import LatencyPoint
from artifact.product_states import ProductState

from ..latency import ROUNDS
from ..runtime import Feeds
from ..timing import in_turn
from . import names
from .runtime import SPECIAL, SplitModel, gathered

LENGTHS = (8, 16, 32, 64, 128, 256)
"""Of products, in tokens."""

SCORED_TOKENS = (64, 256, 1024)
"""Product tokens of a run of the interaction, about: two lanes share 64 products of 30 tokens in runs of 960."""

ENCODED_TOKENS = (64, 128, 256)
"""Of a run of the product encoder."""

QUERY_TOKENS = 8
"""Special ones included: a query of six tokens."""


def measure_interaction(
    model: SplitModel, max_tokens: int, vocab_size: int, rounds: int = ROUNDS
) -> list[LatencyPoint]:
    """Median seconds of a run of the interaction by products and their tokens, special ones left out, on one thread.

    Args:
        max_tokens: of a text, special ones included.
        vocab_size: ids stay below it.
    """
    query = model.encode_query(text_feeds(1, min(QUERY_TOKENS, max_tokens), vocab_size))
    shapes = _shapes(max_tokens - SPECIAL, SCORED_TOKENS)
    products = {tokens: product_states(model, tokens, vocab_size) for _, tokens in shapes}
    return _timed(
        shapes, rounds, lambda pairs, tokens: partial(model.interact, {**query, **gathered([products[tokens]] * pairs)})
    )


def measure_product_encoder(
    model: SplitModel, max_tokens: int, vocab_size: int, rounds: int = ROUNDS
) -> list[LatencyPoint]:
    """The same of the product encoder; tokens with the special ones."""
    shapes = _shapes(max_tokens, ENCODED_TOKENS)
    return _timed(
        shapes, rounds, lambda pairs, tokens: partial(model.encode_products, text_feeds(pairs, tokens, vocab_size))
    )


def product_states(model: SplitModel, tokens: int, vocab_size: int) -> ProductState:
    """Of a product of so many tokens of its own."""
    return model.encode_products(text_feeds(1, tokens + SPECIAL, vocab_size))[0]


def text_feeds(texts: int, tokens: int, vocab_size: int) -> Feeds:
    """Random texts of so many tokens each."""
    ids = np.random.default_rng(tokens).integers(min(1000, vocab_size - 1), vocab_size, (texts, tokens))
    return dict(zip(names.TEXT_INPUTS, (ids, np.ones_like(ids)), strict=True))


def _shapes(longest: int, batch_tokens: Sequence[int]) -> list[tuple[int, int]]:
    """(texts, tokens of each): every length up to the longest, alone and in batches."""
    lengths = sorted({*(length for length in LENGTHS if length < longest), longest})
    return [
        (texts, length) for length in lengths for texts in sorted({1, *(max(1, n // length) for n in batch_tokens)})
    ]


def _timed(
    shapes: Sequence[tuple[int, int]], rounds: int, work: Callable[[int, int], Callable[[], object]]
) -> list[LatencyPoint]:
    seconds = in_turn({f"{pairs} x {tokens}": work(pairs, tokens) for pairs, tokens in shapes}, rounds)
    medians = [float(np.median(taken)) for taken in seconds.values()]
    return [
        LatencyPoint(pairs=pairs, tokens=tokens, seconds=median)
        for (pairs, tokens), median in zip(shapes, medians, strict=True)
    ]

"""How long each graph of a split model takes alone. `python -m export split-speed ARTIFACT`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort

from artifact import load_artifact

from ..compile import Say
from ..errors import ExportError
from ..runtime import Feeds
from ..timing import in_turn
from ..workload import Lanes
from .latency import QUERY_TOKENS, product_states, text_feeds
from .runtime import SPECIAL, SplitModel, gathered

PRODUCTS, PRODUCT_TOKENS = 64, 30
ENCODED = 8
"""Products in a run of their encoder."""


@dataclass(frozen=True, slots=True)
class SplitSpeed:
    """Seconds of every round, by variant and what was done.

    Attributes:
        lanes: threads that share the products.
    """

    seconds: dict[str, list[float]]
    lanes: int

    def __str__(self) -> str:
        """A Markdown table."""
        lines = [
            f"{PRODUCTS} products of {PRODUCT_TOKENS} tokens, query of {QUERY_TOKENS} tokens with the special ones, "
            f"ONNX Runtime {ort.__version__}",
            "",
            "| | ms, median | 5 % | 95 % |",
            "|---|---:|---:|---:|",
        ]
        for name, taken in self.seconds.items():
            low, median, high = np.percentile(taken, (5, 50, 95)) * 1e3
            lines.append(f"| {name} | {median:.2f} | {low:.2f} | {high:.2f} |")
        return "\n".join(lines)


def measure_split_speed(folder: Path, rounds: int, say: Say) -> SplitSpeed:
    """Times the three graphs of each variant in turn, on random texts.

    Raises:
        ArtifactError: the artifact cannot be read.
        ExportError: it is no split model, or its products are shorter than those that are timed.
    """
    manifest = load_artifact(folder).manifest
    if manifest.architecture != "split":
        raise ExportError(f"{folder}: expected a split model, found a {manifest.architecture}: take `speed`")
    if manifest.template.max_tokens < PRODUCT_TOKENS + SPECIAL:
        raise ExportError(f"{folder}: its texts have at most {manifest.template.max_tokens} tokens; too few to compare")
    lanes = len(os.sched_getaffinity(0))
    team, vocab_size = Lanes(lanes), manifest.tokenizer.vocab_size
    say(f"timing {rounds} rounds ...")
    seconds: dict[str, list[float]] = {}
    for variant in manifest.variants:
        model, name = SplitModel.read(folder, variant), variant.name
        query = model.encode_query(text_feeds(1, QUERY_TOKENS, vocab_size))
        shared = [_feeds(model, query, part, vocab_size) for part in _shares(lanes)]
        whole = _feeds(model, query, PRODUCTS, vocab_size)
        asked = text_feeds(1, QUERY_TOKENS, vocab_size)
        texts = text_feeds(ENCODED, PRODUCT_TOKENS + SPECIAL, vocab_size)
        work: dict[str, Callable[[], object]] = {
            f"{name}, interaction, {lanes} lanes": partial(team.run, model.interact, shared),
            f"{name}, interaction, one lane": partial(model.interact, whole),
            f"{name}, query": partial(model.encode_query, asked),
            f"{name}, {ENCODED} products encoded, one lane": partial(model.encode_products, texts),
        }
        # A variant after another: no service has both, and weights of the one would push the other's out of the cache.
        seconds |= in_turn(work, rounds)
    return SplitSpeed(seconds, lanes)


def _shares(lanes: int) -> list[int]:
    """Products of each lane, about even."""
    return [len(range(lane, PRODUCTS, lanes)) for lane in range(min(lanes, PRODUCTS))]


def _feeds(model: SplitModel, query: Feeds, products: int, vocab_size: int) -> Feeds:
    return {**query, **gathered([product_states(model, PRODUCT_TOKENS, vocab_size)] * products)}

"""Requests of random shapes for a soak: no two alike, so that caches churn; most tiny, a few as large as allowed."""

import gzip
import json
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..client import Endpoint
from ..generator.wire import WireRequest, wire_request

_POOL_CHARS = 1 << 16
_BODY_CHARS = 300_000
_MOST_PRODUCTS = 1000
# Cumulative share of requests, and up to how many products they have: 6 a request on average.
_PRODUCTS = ((0.70, 1), (0.90, 5), (0.98, 30), (0.998, 200), (1.0, _MOST_PRODUCTS))
# Cumulative share of titles, and up to how many characters they have.
_TITLE_CHARS = ((0.2, 12), (0.9, 90), (0.99, 400), (1.0, 4000))
# Of every plane that holds characters: Latin, Greek to Arabic, combining marks, Devanagari, CJK, Hangul, private use,
# plane 1 (scripts, emoji), planes 2 and 3 (ideographs), plane 14 (tags), planes 15 and 16.
_RANGES = (
    *((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x300, 0x36F), (0x370, 0x6FF), (0x900, 0x97F), (0x4E00, 0x9FFF)),
    *((0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0x10000, 0x100FA), (0x1F300, 0x1F64F), (0x20000, 0x2A6DF)),
    *((0x30000, 0x3134A), (0xE0001, 0xE007F), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)),
)


@dataclass(frozen=True, slots=True)
class SoakTraffic:
    """Makes request number n: equal fields and n, equal request.

    Shares, each of its own, of requests that ask for partial answers, are compressed, carry a short deadline, or whose
    caller leaves within milliseconds.
    """

    endpoint: Endpoint
    seed: int
    partial: float = 0.1
    gzipped: float = 0.1
    hurried: float = 0.1
    abandoned: float = 0.02

    def __call__(self, number: int) -> WireRequest:
        """The request."""
        made_random = random.Random(f"soak {self.seed} {number}")
        products = _up_to(_PRODUCTS, made_random)
        contents: dict[str, Any] = {
            "query": f"{number} {_text(self.seed, made_random, made_random.randint(1, 60))}",
            "products": _products(self.seed, made_random, products),
        }
        headers = {}
        if made_random.random() < self.partial:
            contents["partial"] = True
        if made_random.random() < self.hurried:
            headers["x-request-timeout-ms"] = str(made_random.randint(1, 100))
        body = json.dumps(contents, ensure_ascii=made_random.random() < 0.1, separators=(",", ":")).encode()
        if made_random.random() < self.gzipped:
            headers["content-encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1)
        leaves = made_random.random() < self.abandoned
        abandon_s = made_random.uniform(0.0, 0.05) if leaves else None
        return wire_request(self.endpoint, body, products, headers, abandon_s)


def _products(seed: int, made_random: random.Random, count: int) -> list[dict[str, str]]:
    listed = []
    left = _BODY_CHARS
    for position in range(count):
        chars = min(_up_to(_TITLE_CHARS, made_random), max(1, left // (count - position)))
        left -= chars
        product = {"title": f"{made_random.getrandbits(40):x} {_text(seed, made_random, chars)}"}
        if made_random.random() < 0.5:
            product["brand"] = _text(seed, made_random, 8)
        if made_random.random() < 0.2:
            product["color"] = _text(seed, made_random, 5)
        listed.append(product)
    return listed


def _up_to(table: tuple[tuple[float, int], ...], made_random: random.Random) -> int:
    share, lowest = made_random.random(), 1
    for limit, most in table:
        if share < limit:
            return made_random.randint(lowest, most)
        lowest = most
    return table[-1][1]


def _text(seed: int, made_random: random.Random, chars: int) -> str:
    start = made_random.randrange(_POOL_CHARS - chars)
    return _pool(seed)[start : start + chars].strip() or "x"


@lru_cache(maxsize=1)
def _pool(seed: int) -> str:
    """A long text of words in all scripts; titles are cut from it, since making each anew would cost too much time."""
    made_random = random.Random(f"soak pool {seed}")
    pieces: list[str] = []
    length = 0
    while length < _POOL_CHARS:
        low, high = made_random.choice(_RANGES[:2] * 6 + _RANGES)
        word = "".join(chr(made_random.randint(low, high)) for _ in range(made_random.randint(1, 10)))
        pieces.append(word + " ")
        length += len(word) + 1
    return "".join(pieces)[:_POOL_CHARS]

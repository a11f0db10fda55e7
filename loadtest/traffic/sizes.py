"""How many products a request has: one number, or a distribution.

64                      always 64
10-500                  each number from 10 to 500 equally often
1:0.7,64:0.2,10-500:0.1 seven tenths have 1, two tenths 64, one tenth 10 to 500; weights need not sum to 1
lognormal:64:400        half have at most 64, 99 % at most 400; never below 1 or above 1,000
"""

import math
import random
import re
from dataclasses import dataclass
from itertools import accumulate

from ..errors import LoadtestError
from .requests import MAX_PRODUCTS

_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
_Z99 = 2.3263478740408408
_LOGNORMAL = "lognormal:"


@dataclass(frozen=True, slots=True)
class Sizes:
    """A distribution of product counts."""

    text: str
    """As it was asked for."""
    spans: tuple[tuple[int, int], ...] = ()
    """(least, most), each number of a span equally often; empty for a lognormal."""
    cumulative: tuple[float, ...] = ()
    """Sums of the spans' weights up to each."""
    mu: float = 0.0
    sigma: float = 0.0

    @property
    def most(self) -> int:
        """The largest count that it gives."""
        return max((most for _, most in self.spans), default=MAX_PRODUCTS)

    @property
    def fixed(self) -> int | None:
        """The one count that it gives; None where it gives several."""
        return self.most if all(span == (self.most, self.most) for span in self.spans) and self.spans else None

    def draw(self, made_random: random.Random) -> int:
        """One count."""
        if self.spans:
            least, most = made_random.choices(self.spans, cum_weights=self.cumulative)[0]
            return made_random.randint(least, most)
        while True:
            # Drawn again where it is beyond the contract, so that no bound is more frequent than its neighbours.
            count = math.ceil(made_random.lognormvariate(self.mu, self.sigma))
            if 1 <= count <= MAX_PRODUCTS:
                return count


def parse_sizes(text: str) -> Sizes:
    """Of the grammar above.

    Raises:
        LoadtestError: it is none of these, or a count is not 1 to 1,000.
    """
    if text.startswith(_LOGNORMAL):
        return _lognormal(text)
    spans, weights = [], []
    parts = text.split(",")
    for part in parts:
        span, colon, weight = part.strip().partition(":")
        if bool(colon) == (len(parts) == 1):
            raise _unclear(text)
        spans.append(_span(span.strip(), text))
        weights.append(_weight(weight, text) if colon else 1.0)
    return Sizes(text, tuple(spans), tuple(accumulate(weights)))


def _span(span: str, text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(span)
    if not found:
        raise _unclear(text)
    least, most = int(found[1]), int(found[2] or found[1])
    if not 1 <= least <= most <= MAX_PRODUCTS:
        raise LoadtestError(f"--products: expected 1 to {MAX_PRODUCTS}, the smaller first, found {span!r} in {text!r}")
    return least, most


def _weight(weight: str, text: str) -> float:
    try:
        value = float(weight)
    except ValueError:
        raise _unclear(text) from None
    if not (math.isfinite(value) and value > 0):
        raise LoadtestError(f"--products: expected weights above 0, found {weight!r} in {text!r}")
    return value


def _lognormal(text: str) -> Sizes:
    try:
        median, p99 = (float(part) for part in text.removeprefix(_LOGNORMAL).split(":"))
    except ValueError:
        raise _unclear(text) from None
    if not 1 <= median < p99 <= MAX_PRODUCTS:
        raise LoadtestError(
            f"--products: expected a median of at least 1, below a p99 of at most {MAX_PRODUCTS}, found {text!r}"
        )
    return Sizes(text, mu=math.log(median), sigma=math.log(p99 / median) / _Z99)


def _unclear(text: str) -> LoadtestError:
    return LoadtestError(
        f"--products: expected like 64, 10-500, 1:0.7,64:0.2,500:0.1 or lognormal:64:400, found {text!r}"
    )

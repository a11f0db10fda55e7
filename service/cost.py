"""What work costs the lanes: predicted from its shape, learned from the work that they do.

A unit's time is a line in its size: seconds = intercept + slope * size. There is one line for preparing (size:
products), and for scoring one per class of pair lengths (size: padded tokens), since attention makes long pairs dearer
per token. Where a model has encoders of either side, encoding products has such lines too, and a query has one in its
tokens. The lines start as the artifact's latency table has them, measured where the artifact was made. How much
slower or faster this machine is at present is one ratio on top, which follows within a fraction of a second of work.
"""

import bisect
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from artifact import LatencyPoint

from .engine import Outlook

RATIO_WINDOW_S = 0.25
"""Lane-seconds of work after which a measurement has lost two thirds of its weight in the machine's ratio."""

LINE_WINDOW_S = 5.0
"""The same for the lines: the graph's shape does not change with the machine's mood."""

OUTLIER = 4.0
"""One measurement counts as this many times what was expected of it, at most, and as one part of that at least."""

LINE_OUTLIER = 1.5
"""The same for the lines: what exceeds it is first taken for the machine's doing."""

PRIOR_WEIGHT = 2.0
"""Measurements that the line a model starts with is worth, at each of two sizes."""

LENGTH_CLASSES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
"""Longest pair of each class but the last, in tokens."""

PREPARE_UNIT_S = 50e-6
PREPARE_PRODUCT_S = 40e-6
"""Tokenising, until the first unit has been measured: the order of magnitude of one core of a server."""

UNKNOWN_RUN_S = 200e-6
UNKNOWN_TOKEN_S = 25e-6
"""The same of a micro-batch of a small model and of each token in it, where the artifact has no latency table."""


@dataclass(frozen=True, slots=True)
class Line:
    """seconds = intercept_s + slope_s * size, both at least 0."""

    intercept_s: float
    slope_s: float

    def at(self, size: float) -> float:
        """Seconds of a unit of this size."""
        return self.intercept_s + self.slope_s * size


def line_through(points: Sequence[tuple[float, float, float]]) -> Line:
    """The weighted least-squares line of (size, seconds, weight), with neither part below 0."""
    weight = math.fsum(w for _, _, w in points)
    if not weight:
        return Line(0.0, 0.0)
    mean_size = math.fsum(w * x for x, _, w in points) / weight
    mean_s = math.fsum(w * t for _, t, w in points) / weight
    spread = math.fsum(w * (x - mean_size) ** 2 for x, _, w in points)
    together = math.fsum(w * (x - mean_size) * (t - mean_s) for x, t, w in points)
    return _bounded(mean_size, mean_s, together / spread if spread else math.inf)


def _bounded(mean_size: float, mean_s: float, slope_s: float) -> Line:
    slope_s = max(0.0, min(slope_s, mean_s / mean_size if mean_size else 0.0))
    return Line(mean_s - slope_s * mean_size, slope_s)


class FittedLine:
    """A line that follows measurements: least squares in which old ones fade, held by where it started.

    Args:
        prior: where it starts. It keeps a little weight for ever, so that measurements of one size alone, the rule
            under steady traffic, cannot tilt the line.
        sizes: two sizes at which the prior holds it.
    """

    def __init__(self, prior: Line, sizes: tuple[float, float]) -> None:
        self.prior = prior
        self.line = prior
        self._prior = [(size, prior.at(size), PRIOR_WEIGHT) for size in sizes]
        self._weight = self._size = self._s = self._size2 = self._size_s = 0.0

    def observe(self, size: float, seconds: float) -> None:
        """Learns from one unit of work."""
        faded = math.exp(-seconds / LINE_WINDOW_S)
        self._weight = self._weight * faded + 1.0
        self._size = self._size * faded + size
        self._s = self._s * faded + seconds
        self._size2 = self._size2 * faded + size * size
        self._size_s = self._size_s * faded + size * seconds
        weight, x, t, xx, xt = self._weight, self._size, self._s, self._size2, self._size_s
        for prior_size, prior_s, prior_weight in self._prior:
            weight += prior_weight
            x += prior_weight * prior_size
            t += prior_weight * prior_s
            xx += prior_weight * prior_size * prior_size
            xt += prior_weight * prior_size * prior_s
        spread = xx - x * x / weight
        self.line = _bounded(x / weight, t / weight, (xt - x * t / weight) / spread if spread > 0 else math.inf)


class StageCost:
    """The cost of one stage of the work, by classes of like units. Safe to use from several threads.

    Args:
        priors: one line per class.
        sizes: two usual sizes of a unit.

    Attributes:
        ratio: how many times what the priors say units take at present; 1 until one is measured.
    """

    def __init__(self, priors: Sequence[Line], sizes: tuple[float, float]) -> None:
        self._lock = threading.Lock()
        self._lines = [FittedLine(prior, sizes) for prior in priors]
        self._seconds = 0.0
        self._prior_s = 0.0
        self.ratio = 1.0

    def predict_s(self, size: float, kind: int = 0, units: int = 1) -> float:
        """Lane-seconds of work of this size and class, all of its units together."""
        line = self._lines[kind].line
        return (units * line.intercept_s + size * line.slope_s) * self.ratio

    def observe(self, seconds: float, size: float, kind: int = 0) -> None:
        """Learns from one unit, begun and ended on one lane."""
        with self._lock:
            fitted = self._lines[kind]
            expected_s = fitted.line.at(size)
            if expected_s <= 0.0 or seconds <= 0.0:
                return
            seconds = min(max(seconds, expected_s * self.ratio / OUTLIER), expected_s * self.ratio * OUTLIER)
            faded = math.exp(-min(seconds, RATIO_WINDOW_S) / RATIO_WINDOW_S)
            self._seconds = self._seconds * faded + seconds
            # Against where the lines started: a slower machine and dearer lines could not be told apart.
            self._prior_s = self._prior_s * faded + fitted.prior.at(size)
            self.ratio = self._seconds / self._prior_s if self._prior_s else 1.0
            seen_s = seconds / self.ratio
            fitted.observe(size, min(max(seen_s, expected_s / LINE_OUTLIER), expected_s * LINE_OUTLIER))


class TokenRatio:
    """How many times the guessed tokens texts have on average, padding included."""

    def __init__(self) -> None:
        self.value = 1.0

    def observe(self, padded_tokens: int, texts: int, guessed_mean: float) -> None:
        """Learns from so many texts that had so many tokens together."""
        if guessed_mean > 0:
            seen = min(max(padded_tokens / texts / guessed_mean, 1 / OUTLIER), OUTLIER)
            self.value += 0.05 * (seen - self.value)


class CostModel:
    """Predicts the lane-seconds of one loaded model's work.

    Args:
        table: the variant's latency table; empty where the artifact has none.
        budget_tokens: padded tokens of a full micro-batch.
        product_table: the same table of the product encoder, where the model has one.
        encode_tokens: padded tokens of a full micro-batch of the product encoder.
    """

    def __init__(
        self,
        table: Sequence[LatencyPoint] = (),
        budget_tokens: int = 256,
        product_table: Sequence[LatencyPoint] = (),
        encode_tokens: int = 256,
    ) -> None:
        kinds = range(len(LENGTH_CLASSES) + 1)
        sizes, encode_sizes = ((tokens / 8, float(tokens)) for tokens in (budget_tokens, encode_tokens))
        self._pairs = StageCost([_prior(table, kind) for kind in kinds], sizes)
        self._encode = StageCost([_prior(product_table, kind) for kind in kinds], encode_sizes)
        # The query's encoder is taken for one like the products', on a text of its length.
        self._query = StageCost([_prior(product_table, 0)], (4.0, 16.0))
        self._prepare = StageCost([Line(PREPARE_UNIT_S, PREPARE_PRODUCT_S)], (1.0, 32.0))
        self._budget_tokens = budget_tokens
        self._encode_tokens = encode_tokens
        self._encodes = bool(product_table)
        self._pair_ratio, self._fresh_ratio = TokenRatio(), TokenRatio()

    @property
    def micro_batch_s(self) -> float:
        """Lane-seconds of a full micro-batch of short pairs."""
        return self.pairs_s(max(1, self._budget_tokens // 32), 32)

    @property
    def unit_s(self) -> float:
        """Lane-seconds of the longest unit of work: a micro-batch of pairs, or of products that are encoded."""
        if not self._encodes:
            return self.micro_batch_s
        return max(self.micro_batch_s, self.encode_s(max(1, self._encode_tokens // 32), 32))

    @property
    def ratio(self) -> float:
        """What scoring takes on this machine at present, as a multiple of the artifact's own latency table."""
        return self._pairs.ratio

    def pairs_s(self, pairs: int, longest: int) -> float:
        """Lane-seconds of scoring a micro-batch of so many pairs, padded to so many tokens."""
        return self._pairs.predict_s(pairs * longest, length_class(longest))

    def prepare_s(self, products: int) -> float:
        """Lane-seconds of preparing so many products in one unit, their encoding left out."""
        return self._prepare.predict_s(products)

    def query_s(self, tokens: float) -> float:
        """Lane-seconds of the query's own run through a model; of none where it has no tokens to go through one."""
        return self._query.predict_s(tokens) if tokens else 0.0

    def encode_s(self, products: int, longest: int) -> float:
        """Lane-seconds of encoding a micro-batch of so many products, padded to so many tokens."""
        return self._encode.predict_s(products * longest, length_class(longest))

    def outlook_s(self, products: int, outlook: Outlook, unit_products: int) -> float:
        """Lane-seconds of so many first products of a request of which nothing is done yet.

        Args:
            products: at least one.
            outlook: of the whole request.
            unit_products: those that one unit prepares.
        """
        if outlook.states is None:
            return self.request_s(products, outlook.pair_tokens, unit_products)
        unknown = outlook.unknown_of(products)
        return (
            self.query_s(outlook.query_tokens)
            + (self.prepare_s(unknown) if unknown else 0.0)
            + self.encode_of_request_s(unknown * outlook.fresh_share, outlook.fresh_tokens)
            + self.pairs_of_request_s(products, outlook.pair_tokens)
        )

    def request_s(self, products: int, mean_tokens: float, unit_products: int) -> float:
        """Lane-seconds of a whole request that nothing is known of yet but a guess of its pairs' mean length."""
        full, rest = divmod(products, unit_products)
        prepare_s = full * self.prepare_s(unit_products) + (self.prepare_s(rest) if rest else 0.0)
        return prepare_s + self.pairs_of_request_s(products, mean_tokens)

    def pairs_of_request_s(self, products: int, mean_tokens: float) -> float:
        """The pair stage's part of `request_s`."""
        longest = max(1, round(mean_tokens * self._pair_ratio.value))
        units = -(-products // max(1, self._budget_tokens // longest))
        return self._pairs.predict_s(products * longest, length_class(longest), units)

    def encode_of_request_s(self, products: float, mean_tokens: float) -> float:
        """Lane-seconds of encoding so many products; a number expected, and so perhaps no whole one."""
        if not products:
            return 0.0
        longest = max(1, round(mean_tokens * self._fresh_ratio.value))
        in_batch = max(1, self._encode_tokens // longest)
        full, rest = divmod(products, in_batch)
        return full * self.encode_s(in_batch, longest) + min(1.0, rest) * self.encode_s(max(1, round(rest)), longest)

    def observe_pairs(self, seconds: float, pairs: int, longest: int) -> None:
        """Learns from a micro-batch."""
        self._pairs.observe(seconds, pairs * longest, length_class(longest))

    def observe_prepare(self, seconds: float, products: int) -> None:
        """Learns from a unit of preparing."""
        self._prepare.observe(seconds, products)

    def observe_query(self, seconds: float, tokens: float) -> None:
        """Learns from a query's own run through a model."""
        self._query.observe(seconds, tokens)

    def observe_encode(self, seconds: float, products: int, longest: int) -> None:
        """Learns from a micro-batch of the product encoder."""
        self._encode.observe(seconds, products * longest, length_class(longest))

    def observe_tokens(self, padded_tokens: int, pairs: int, guessed_mean: float) -> None:
        """Learns how far guesses of the pairs' mean length are off, padding included."""
        self._pair_ratio.observe(padded_tokens, pairs, guessed_mean)

    def observe_fresh_tokens(self, padded_tokens: int, products: int, guessed_mean: float) -> None:
        """The same of products that are to be encoded."""
        self._fresh_ratio.observe(padded_tokens, products, guessed_mean)


def length_class(longest: int) -> int:
    """Index of the class of a micro-batch by its longest pair in tokens."""
    return bisect.bisect_left(LENGTH_CLASSES, longest)


def _prior(table: Sequence[LatencyPoint], kind: int) -> Line:
    """The line of the table's measurements whose length is nearest to that of the class."""
    if not table:
        return Line(UNKNOWN_RUN_S, UNKNOWN_TOKEN_S)
    wanted = LENGTH_CLASSES[min(kind, len(LENGTH_CLASSES) - 1)]
    nearest = min({point.tokens for point in table}, key=lambda tokens: abs(math.log(tokens / wanted)))
    return line_through(
        # By relative error: a line that is right for a full micro-batch should be so for a single pair.
        [(p.pairs * p.tokens, p.seconds, 1 / p.seconds**2) for p in table if p.tokens == nearest]
    )

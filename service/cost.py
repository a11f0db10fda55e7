"""What a product costs the lanes, learned from the work that they do."""

import math
import threading

WINDOW_S = 0.25
"""Lane-seconds of work after which a measurement has lost two thirds of its weight."""

OUTLIER = 4.0
"""One measurement counts as this many times what was expected of it, at most."""


class StageCost:
    """The cost of one stage: a mean over recent work, old work fading with the lane time spent since.

    One absurd measurement moves it by little, since it is capped. A machine that has become slower moves it all the
    same: each further measurement raises the cap. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._products = 0.0
        self._units = 0.0

    @property
    def product_s(self) -> float:
        """Lane-seconds per product; 0 before the first measurement."""
        return self._seconds / self._products if self._products else 0.0

    @property
    def unit_s(self) -> float:
        """Lane-seconds per unit of work; 0 before the first measurement."""
        return self._seconds / self._units if self._units else 0.0

    def observe(self, seconds: float, products: int) -> None:
        """Learns from one unit of work, begun and ended on one lane."""
        with self._lock:
            if self._seconds:
                faded = math.exp(-min(seconds, WINDOW_S) / WINDOW_S)
                seconds = min(seconds, OUTLIER * max(self.product_s * products, self.unit_s))
                self._seconds *= faded
                self._products *= faded
                self._units *= faded
            self._seconds += seconds
            self._products += products
            self._units += 1


class CostEstimate:
    """Both stages of a product's way: preparing it, and scoring its pair. One loaded model per estimate."""

    def __init__(self) -> None:
        self.prepare = StageCost()
        self.pairs = StageCost()

    @property
    def product_s(self) -> float:
        """Lane-seconds per product, both stages; 0 before the first measurement."""
        return self.prepare.product_s + self.pairs.product_s

    @property
    def micro_batch_products(self) -> float:
        """How many products a micro-batch holds, at least 1."""
        return max(1.0, self.pairs.unit_s / self.pairs.product_s) if self.pairs.product_s else 1.0

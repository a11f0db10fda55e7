"""How much of the predicted work the lanes get done in a second of theirs."""

import math
import threading

WINDOW_S = 1.0
"""Lane-seconds after which a measurement has lost two thirds of its weight."""

LEAST, MOST = 0.25, 1.25
"""What a busy second counts for, at least and at most: beyond, something else than the work was measured."""


class Pace:
    """Predicted lane-seconds of the work done, by the lane-seconds that it took with all that comes between.

    It is 1 where predictions are right and lanes do nothing but what was predicted. Taking units, waiting for the
    interpreter and joining small micro-batches move it, and it corrects what predictions are off by as a whole. Safe to
    use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # As if a quarter of a second had gone as predicted: the first units alone do not decide.
        self._predicted_s = self._taken_s = WINDOW_S / 4

    @property
    def ratio(self) -> float:
        """Between LEAST and MOST."""
        return min(max(self._predicted_s / self._taken_s, LEAST), MOST)

    def observe(self, predicted_s: float, taken_s: float) -> None:
        """Learns from one turn of a lane, from when it could take a unit to its end."""
        if predicted_s <= 0.0:
            return
        taken_s = min(max(taken_s, predicted_s * LEAST), predicted_s / LEAST)
        faded = math.exp(-taken_s / WINDOW_S)
        with self._lock:
            self._predicted_s = self._predicted_s * faded + predicted_s
            self._taken_s = self._taken_s * faded + taken_s

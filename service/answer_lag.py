"""How long after its last score a request's answer is ready: what predictions of the lanes' work do not see."""

WEIGHT = 0.05
"""Of one request in the mean and in the mean deviation."""

DEVIATIONS = 3.0

MOST_S = 0.05


class AnswerLag:
    """Mean plus three mean deviations of the time from the lanes to the answer. Belongs to the event loop."""

    def __init__(self) -> None:
        self._mean_s = 0.0
        self._deviation_s = 0.0

    @property
    def seconds(self) -> float:
        """What to leave between the end of the work and the deadline."""
        return min(self._mean_s + DEVIATIONS * self._deviation_s, MOST_S)

    def observe(self, seconds: float) -> None:
        """Learns from one request."""
        seconds = min(max(seconds, 0.0), MOST_S)
        self._deviation_s += WEIGHT * (abs(seconds - self._mean_s) - self._deviation_s)
        self._mean_s += WEIGHT * (seconds - self._mean_s)

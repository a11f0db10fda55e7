"""One admitted request on its way through the lanes: what is known of it so far, and how it ended."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from artifact import Product


@dataclass(slots=True)
class StageTimes:
    """When the stages of a job began and ended, on the monotonic clock, in seconds; None before that."""

    submitted: float
    prepare_started: float | None = None
    prepare_ended: float | None = None
    encode_started: float | None = None
    encode_ended: float | None = None
    pairs_started: float | None = None
    pairs_ended: float | None = None
    recall_ended: float | None = None

    @property
    def tokenize_s(self) -> float:
        """From the first product taken up to the last one prepared."""
        return _span(self.prepare_started, self.prepare_ended)

    @property
    def encode_s(self) -> float:
        """From the first products taken to be encoded up to the last ones done: a part of `tokenize_s`."""
        return _span(self.encode_started, self.encode_ended)

    @property
    def inference_s(self) -> float:
        """From the first micro-batch taken up to the last one done."""
        return _span(self.pairs_started, self.pairs_ended)

    @property
    def queue_s(self) -> float:
        """Waiting for a lane: before the first product is prepared, and before the first micro-batch."""
        return _span(self.submitted, self.prepare_started) + _span(self.prepare_ended, self.pairs_started)


class Job:
    """A request in work. Lanes write to it, the event loop reads from it; it ends once.

    Args:
        query: as the caller sent it.
        products: in request order.
        deadline: on the monotonic clock, in seconds.
        partial: whether the caller takes what is scored at the deadline.
        request_id: for the log.
        trace_id: likewise; None without a trace.
        submitted: when it entered the queue, on the same clock.
        on_finish: called once, from any thread, when the job has ended. It must not block.
        background: whether it runs only while no other work waits, and counts for no one's admission.

    Attributes:
        due: when its turn comes, on the monotonic clock, in seconds; its deadline, unless admission sets it earlier.
        remaining_s: lane-seconds of work left, as predicted.
        asked_s: lane-seconds that `first_s` was at first.
        first_s: lane-seconds until its caller gets something: all of it, or of a partial answer a first micro-batch.
        promised: whether admission predicted that it would be done in time.
        predicted_s: seconds from its admission to its end, as admission saw it; 0 where nothing was predicted.
        tokens: of its pairs, as far as they are planned; without padding.
    """

    def __init__(
        self,
        query: str,
        products: Sequence[Product],
        *,
        deadline: float,
        partial: bool,
        request_id: str,
        submitted: float,
        on_finish: Callable[[], None],
        background: bool = False,
        trace_id: str | None = None,
    ) -> None:
        self.query = query
        self.products = products
        self.deadline = deadline
        self.partial = partial
        self.request_id = request_id
        self.trace_id = trace_id
        self.times = StageTimes(submitted)
        self.background = background
        self.due = deadline
        self.remaining_s = 0.0
        self.first_s = 0.0
        self.asked_s = 0.0
        self.promised = False
        self.predicted_s = 0.0
        self.tokens = 0
        self.error: Exception | None = None
        self.ended = False
        self._on_finish = on_finish
        self._lock = threading.Lock()
        self._logits = np.full(len(products), np.nan, dtype=np.float32)
        self._scored = np.zeros(len(products), dtype=np.bool_)
        self.unscored = len(products)

    def ids(self) -> dict[str, str]:
        """What the log says of whose work it is."""
        ids = {"request_id": self.request_id}
        return ids if self.trace_id is None else {**ids, "trace_id": self.trace_id}

    def is_dead(self, now: float) -> bool:
        """Whether further work on it would be for nobody."""
        return self.ended or now >= self.deadline

    def expect(self, seconds: float, *, at_first: float | None = None) -> None:
        """Sets the lane-seconds of work left; `at_first` those until its caller gets something, if they are fewer."""
        with self._lock:
            self.remaining_s = seconds
            self.asked_s = self.first_s = seconds if at_first is None else min(seconds, at_first)

    def spend(self, seconds: float) -> None:
        """Takes a unit of work that was predicted to take so many lane-seconds off what is left."""
        with self._lock:
            self.remaining_s = max(0.0, self.remaining_s - seconds)
            self.first_s = max(0.0, self.first_s - seconds)

    def replan(self, expected_s: float, planned_s: float, tokens: int = 0) -> None:
        """Replaces a guess of some of its work by what is known once it is planned, and adds the pairs' tokens."""
        with self._lock:
            self.tokens += tokens
            self.remaining_s = max(0.0, self.remaining_s - expected_s + planned_s)
            if not self.partial:
                self.first_s = self.remaining_s

    def record(self, indices: Sequence[int], logits: NDArray[np.float32]) -> None:
        """Stores the logits of a micro-batch; the last one ends the job. Ignored once it has ended."""
        with self._lock:
            if self.ended:
                return
            positions = list(indices)
            # Again, where a joint micro-batch failed after some of it had been recorded.
            self.unscored -= len(positions) - int(np.count_nonzero(self._scored[positions]))
            self._logits[positions] = logits
            self._scored[positions] = True
            if self.unscored:
                return
            self.ended = True
        self._finish()

    def end(self, error: Exception) -> None:
        """Ends it before it is complete: it failed, its deadline passed, or its caller left."""
        with self._lock:
            if self.ended:
                return
            self.ended = True
            self.error = error
        self._finish()

    def results(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Copies of (logits, scored) in request order; a logit means something only where `scored` is true."""
        with self._lock:
            return self._logits.copy(), self._scored.copy()

    def _finish(self) -> None:
        # It leads back to the job and to the model: without it, both go as soon as nobody uses them.
        on_finish, self._on_finish = self._on_finish, _nothing
        on_finish()


def _nothing() -> None: ...


def _span(start: float | None, end: float | None) -> float:
    # The first products of a partial answer are scored before the last ones are prepared.
    return max(0.0, end - start) if start is not None and end is not None else 0.0

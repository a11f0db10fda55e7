"""Hands what the event loop has noted to a thread that has time for it, and never waits.

The event loop pays for a comparison and an append: it wakes nobody, for the thread looks by itself from time to time.
The thread has the priority of the event loop, not of the lanes: one that held the interpreter's lock and got no core
would keep the event loop waiting.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

PERIOD_S = 1.0
STOP_TIMEOUT_S = 3.0


class Handover(Generic[T]):
    """A bounded queue with one thread at its end. One thread alone may offer.

    Args:
        work: called by the thread with what has come, oldest first, and with nothing where nothing has. What it raises
            is logged, and the thread goes on.
        max_weight: most weight that waits; what does not fit is not taken.
        name: of the thread.
        period_s: how often the thread looks.
    """

    def __init__(
        self, work: Callable[[Sequence[T]], None], max_weight: int, name: str, period_s: float = PERIOD_S
    ) -> None:
        self._work = work
        self._max_weight = max_weight
        self._period_s = period_s
        self._waiting: deque[tuple[T, int]] = deque()
        # Each is written by one thread alone, so that no lock is needed for their difference.
        self._offered_weight = 0
        self._taken_weight = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def offer(self, item: T, weight: int = 1) -> bool:
        """Whether it was taken. It is dropped where there is no room, or the thread has been stopped."""
        if self._offered_weight - self._taken_weight + weight > self._max_weight or self._stopping.is_set():
            return False
        self._offered_weight += weight
        self._waiting.append((item, weight))
        return True

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Has the thread work off what waits, and end. Blocks for so long at most; whether it has ended."""
        self._stopping.set()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def work_off(self) -> None:
        """Works off what waits at present, in the calling thread."""
        batch = []
        for _ in range(len(self._waiting)):
            item, weight = self._waiting.popleft()
            self._taken_weight += weight
            batch.append(item)
        try:
            self._work(batch)
        except Exception:
            log.exception("what was noted of %d requests is lost", len(batch))

    def _run(self) -> None:
        while not self._stopping.wait(self._period_s):
            self.work_off()
        self.work_off()

"""A well-behaved caller beside a fault: whatever happens, each of its requests gets one honest answer."""

import threading
import time
from collections import Counter
from typing import Self

from .raw import Raw
from .scene import NotAsExpected, Scene

_PAUSE_S = 0.02
_HONEST = (200, 503, 504)


class Witness:
    """Sends the golden request again and again while the block runs, on a connection that it keeps.

    Leaving the block judges what it saw.

    Raises, when the block is left without another error:
        NotAsExpected: a request without an answer, with wrong scores, or with an answer that is neither scores nor an
            honest refusal, beyond the planted ones.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._wrong: list[str] = []
        self.statuses: Counter[int] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join(60.0)
        if kind is not None:
            return
        if self._thread.is_alive():
            raise NotAsExpected("a request beside the fault got no answer within a minute")
        failed = self.statuses[500]
        if failed > self._scene.planted_500s:
            self._wrong.append(f"{failed} x 500, planted {self._scene.planted_500s}")
        if self._wrong:
            raise NotAsExpected("beside the fault: " + "; ".join(self._wrong[:3]))

    def __str__(self) -> str:
        seen = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return f"beside it {seen or 'nothing'}"

    def _run(self) -> None:
        try:
            with Raw(self._scene.port) as raw:
                while not self._stop.is_set():
                    self._ask(raw)
                    time.sleep(_PAUSE_S)
        except OSError as error:
            self._wrong.append(f"no answer: {error or type(error).__name__}")

    def _ask(self, raw: Raw) -> None:
        answer = raw.send(self._scene.golden()).answer()
        if answer is None:
            raise ConnectionError("the connection ended")
        self.statuses[answer.status] += 1
        if answer.status == 200:
            if not self._scene.is_golden(answer):
                self._wrong.append("200 with other scores than before")
        elif answer.status != 500 and answer.status not in _HONEST:
            self._wrong.append(f"status {answer.status}")

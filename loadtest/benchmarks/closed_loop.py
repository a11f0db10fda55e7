"""A closed loop: a fixed number of callers, each on a connection of its own, asks again as soon as it is answered.

Bodies are made before and answers are read after, for the callers share their cores with the servers they measure.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..client import JSON_HEADERS, Connection, Reply
from ..errors import ServerError


@dataclass(frozen=True, slots=True)
class Answer:
    """To one request."""

    latency_ms: float
    """From the first byte sent to the last one read."""
    reply: Reply


@dataclass(frozen=True, slots=True)
class Asked:
    """All answers, in the order of the requests."""

    answers: Sequence[Answer]
    wall_s: float
    """From the first request to the last answer."""
    client_cpu_s: float
    """What this process used meanwhile."""


def ask_all(connections: Sequence[Connection], path: str, bodies: Sequence[bytes]) -> Asked:
    """Sends each body once, as many at a time as there are connections.

    Raises:
        ServerError: an answer that is not 200; the other callers stop.
        OSError, http.client.HTTPException: a connection failed; the other callers stop.
    """
    answers: list[Answer | None] = [None] * len(bodies)
    cpu_before, start = time.process_time(), time.perf_counter()
    if len(connections) == 1:
        for index, body in enumerate(bodies):
            answers[index] = _ask(connections[0], path, body)
    else:
        _ask_in_parallel(connections, path, bodies, answers)
    wall_s, client_cpu_s = time.perf_counter() - start, time.process_time() - cpu_before
    return Asked([answer for answer in answers if answer is not None], wall_s, client_cpu_s)


def _ask(connection: Connection, path: str, body: bytes) -> Answer:
    # Some servers close a connection that idles while the others have their turns.
    connection.refresh()
    start = time.perf_counter()
    reply = connection.request("POST", path, body, JSON_HEADERS)
    latency_ms = (time.perf_counter() - start) * 1e3
    if reply.status != 200:
        raise ServerError(f"answered {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}")
    return Answer(latency_ms, reply)


def _ask_in_parallel(
    connections: Sequence[Connection], path: str, bodies: Sequence[bytes], answers: list[Answer | None]
) -> None:
    # One iterator for all callers: next() on it is one step under the interpreter's lock.
    due = iter(range(len(bodies)))
    stop = threading.Event()
    failures: list[Exception] = []
    callers = [
        threading.Thread(
            target=_call, args=(due, stop, failures, _asker(connection, path, bodies, answers)), daemon=True
        )
        for connection in connections
    ]
    try:
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    finally:
        # On Ctrl-C a caller ends with the answer that it waits for, or with its server.
        stop.set()
    if failures:
        raise failures[0]


def _asker(
    connection: Connection, path: str, bodies: Sequence[bytes], answers: list[Answer | None]
) -> Callable[[int], None]:
    def ask(index: int) -> None:
        answers[index] = _ask(connection, path, bodies[index])

    return ask


def _call(due: Iterator[int], stop: threading.Event, failures: list[Exception], ask: Callable[[int], None]) -> None:
    try:
        for index in due:
            if stop.is_set():
                return
            ask(index)
    except Exception as error:  # whatever it was, the thread that waits has to hear of it
        failures.append(error)
        stop.set()

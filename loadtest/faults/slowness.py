"""Callers that take their time: to send a head, to send a body, to read an answer."""

import contextlib
import time

from .fault import QUICK, Fault, Run
from .raw import Raw, get, head
from .scene import Scene, expect, only, statuses_of
from .witness import Witness

_AHEAD = 16
_CUT = 'refused_connections_total{reason="slow_reader"}'


def slow_headers(scene: Scene) -> str:
    """A header that trickles."""
    with Witness(scene) as witness, Raw(scene.port) as raw:
        raw.send(b"POST /score HTTP/1.1\r\nx: ")
        started_s = time.monotonic()
        answer = _trickle(raw, b"x", 10.0).answer()
        seen, took_s = only(answer, 408), time.monotonic() - started_s
        expect(raw.answer() is None, "the connection stayed open behind the 408")
        expect(took_s < 5.0, f"408 only after {took_s:.1f} s")
    return f"{seen}, then closed; {witness}"


def slow_body(scene: Scene) -> str:
    """A body that trickles for longer than its request may take."""
    with Witness(scene) as witness, Raw(scene.port) as raw:
        raw.send(head("/score", "POST", "content-length: 100000", "x-request-timeout-ms: 300"))
        started_s = time.monotonic()
        answer = _trickle(raw, b" ", 10.0).answer()
        took_s = time.monotonic() - started_s
        seen = only(answer, 504)
        expect(0.25 < took_s < 5.0, f"504 after {took_s:.2f} s, expected about .3")
    return f"{seen} at its deadline; {witness}"


def slow_reader(scene: Scene) -> str:
    """Asks for long answers, and reads none."""
    with Witness(scene) as witness, scene.counting(_CUT), Raw(scene.port, receive_bytes=4096) as raw:
        answered = 'requests_total{route="/openapi.json",status="200"}'
        before = sent = int(scene.metric(answered))
        with contextlib.suppress(ConnectionError):
            while not scene.metric(_CUT) and sent - before < 5000:
                # In turns, so that no more are sent ahead than may be.
                if scene.metric(answered) == sent:
                    raw.send(get("/openapi.json") * _AHEAD)
                    sent += _AHEAD
                time.sleep(0.01)
    return f"cut off after at most {sent - before} answers unread; {witness}"


def slow_crowd(scene: Scene) -> str:
    """Three hundred connections whose heads do not end."""
    with Witness(scene) as witness, contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Raw(scene.port)) for _ in range(300)]
        for raw in crowd:
            raw.send(b"GET /health/live HTTP/1.1\r\nx: ")
        answers = [raw.answer() for raw in crowd]
    expect(all(answer is not None and answer.status == 408 for answer in answers), statuses_of(answers))
    return f"{statuses_of(answers)}; {witness}"


def _trickle(raw: Raw, byte: bytes, seconds: float) -> Raw:
    """Sends a byte every 20 ms until something comes back."""
    until_s = time.monotonic() + seconds
    with contextlib.suppress(ConnectionError):
        while not raw.poll(0.02) and time.monotonic() < until_s:
            raw.send(byte)
    return raw


def _fault(name: str, expectation: str, run: Run) -> Fault:
    return Fault(name, "slow callers", expectation, run, QUICK)


FAULTS = (
    _fault("slow headers", "408 after the head's time, then closed", slow_headers),
    _fault("slow body", "504 at the deadline", slow_body),
    _fault("slow reader", "cut off after the time to take an answer", slow_reader),
    _fault("300 slow callers at once", "408 for each, others served meanwhile", slow_crowd),
)

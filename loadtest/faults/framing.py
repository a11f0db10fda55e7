"""Requests whose length is not what they say, or has no end, or that come many at a time."""

import contextlib
import time

from .fault import QUICK, Fault, Run
from .raw import Answer, Raw, get, head
from .scene import Scene, expect, golden_body, only, statuses_of
from .witness import Witness

_CHUNKED = "transfer-encoding: chunked"


def length_too_short(scene: Scene) -> str:
    """The body goes on behind its length: what is too much is no request."""
    body = golden_body()
    answers = _all(scene, head("/score", "POST", f"content-length: {len(body) - 10}") + body)
    expect(all(answer.status == 400 for answer in answers) and len(answers) >= 1, statuses_of(answers))
    return f"{statuses_of(answers)}, then closed"


def length_too_long(scene: Scene) -> str:
    """The body ends before its length."""
    body = golden_body()
    with Raw(scene.port) as raw:
        raw.send(head("/score", "POST", f"content-length: {len(body) + 10}", "x-request-timeout-ms: 300") + body)
        return f"{only(raw.answer(), 504)} at its deadline"


def two_lengths(scene: Scene) -> str:
    """Two that differ: who believes the other one sees another request."""
    body = golden_body()
    return _refused(scene, head("/score", "POST", f"content-length: {len(body)}", "content-length: 5") + body)


def negative_length(scene: Scene) -> str:
    """Less than nothing."""
    return _refused(scene, head("/score", "POST", "content-length: -5") + golden_body())


def endless_length(scene: Scene) -> str:
    """More than any number holds."""
    return _refused(scene, head("/score", "POST", "content-length: " + "9" * 40) + golden_body())


def length_and_chunks(scene: Scene) -> str:
    """Both: the oldest trick to smuggle a request past a proxy."""
    body = golden_body()
    smuggled = b"0\r\n\r\n" + get("/health/live")
    return _refused(scene, head("/score", "POST", f"content-length: {len(body)}", _CHUNKED) + smuggled + body)


def bad_chunk(scene: Scene) -> str:
    """A chunk whose size is no number."""
    return _refused(scene, head("/score", "POST", _CHUNKED) + b"5\r\n{\r\nxyz\r\n")


def chunks_that_trickle(scene: Scene) -> str:
    """Chunks without end, slowly."""
    with Witness(scene) as witness, Raw(scene.port) as raw:
        raw.send(head("/score", "POST", _CHUNKED, "x-request-timeout-ms: 300"))
        until_s = time.monotonic() + 10
        with contextlib.suppress(ConnectionError):
            while not raw.poll(0.02) and time.monotonic() < until_s:
                raw.send(b"1\r\n \r\n")
        return f"{only(raw.answer(), 504)} at its deadline; {witness}"


def chunks_that_flood(scene: Scene) -> str:
    """Chunks without end, as fast as they are taken."""
    with Witness(scene) as witness, Raw(scene.port) as raw:
        raw.send(head("/score", "POST", _CHUNKED))
        sent_bytes, cut = 0, False
        try:
            while sent_bytes < 100 << 20:
                raw.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent_bytes += 65536
        except ConnectionError:
            cut = True
        expect(cut, f"{sent_bytes >> 20} MiB were taken")
    return f"cut off within {-(-sent_bytes >> 20)} MiB; {witness}"


def pipelining(scene: Scene) -> str:
    """Sixteen requests in one go, behind one another."""
    count = 16
    with Raw(scene.port) as raw:
        raw.send(b"".join(scene.golden(f"x-request-id: {i}") for i in range(count)))
        answers = [raw.answer() for _ in range(count)]
        expect(not raw.poll(0.1), "something came behind the last answer")
    order = [answer.headers.get("x-request-id") for answer in answers if answer is not None]
    expect(order == [str(i) for i in range(count)], f"answers to {order}")
    expect(all(answer is not None and answer.status in (200, 503) for answer in answers), statuses_of(answers))
    return f"{statuses_of(answers)}, in order"


def too_much_pipelining(scene: Scene) -> str:
    """A thousand: those that may wait are answered, then the connection ends."""
    with Witness(scene) as witness, Raw(scene.port) as raw:
        with contextlib.suppress(ConnectionError):
            raw.send(b"".join(scene.golden(f"x-request-id: {i}") for i in range(1000)))
        answers = raw.answers()
    order = [answer.headers.get("x-request-id") for answer in answers]
    expect(order == [str(i) for i in range(len(answers))], "answers out of order")
    expect(all(answer.status in (200, 503, 504) for answer in answers), statuses_of(answers))
    return f"{len(answers)} answered in order, then closed; {witness}"


def not_http(scene: Scene) -> str:
    """What is no HTTP at all, a TLS greeting among it."""
    _refused(scene, b"HELLO\r\n\r\n")
    return _refused(scene, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")


def _refused(scene: Scene, data: bytes) -> str:
    """Sent, it must get one 400 and the connection's end."""
    answers = _all(scene, data)
    expect([answer.status for answer in answers] == [400], f"{statuses_of(answers)}, expected one 400 and the end")
    return "400, then closed"


def _all(scene: Scene, data: bytes) -> list[Answer]:
    with Raw(scene.port) as raw:
        return raw.send(data).answers()


def _fault(name: str, expectation: str, run: Run) -> Fault:
    return Fault(name, "lengths and order", expectation, run, QUICK)


FAULTS = (
    _fault("content-length too short", "400 for the broken body, what follows is no request: closed", length_too_short),
    _fault("content-length too long", "504 at the deadline", length_too_long),
    _fault("two content-lengths", "400, closed", two_lengths),
    _fault("negative content-length", "400, closed", negative_length),
    _fault("content-length of 40 digits", "400, closed", endless_length),
    _fault("content-length and chunks", "400, closed; nothing smuggled", length_and_chunks),
    _fault("broken chunk", "400, closed", bad_chunk),
    _fault("chunks without end, slow", "504 at the deadline", chunks_that_trickle),
    _fault("chunks without end, fast", "cut off", chunks_that_flood),
    _fault("pipelining", "one answer each, in order", pipelining),
    _fault("1,000 requests pipelined", "those that may wait are answered in order, then the end", too_much_pipelining),
    _fault("not HTTP", "400, closed", not_http),
)

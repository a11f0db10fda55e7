"""Deadlines that are none, in the body and in the headers, and two at once. A micro-batch takes 100 ms here."""

import json
from collections.abc import Iterable

from .fault import PACED, Fault, Run
from .raw import ask, post
from .scene import Scene, expect, golden_body, only

_HEADERS = ("x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms")


def zero(scene: Scene) -> str:
    """No time at all."""
    return _refused(scene, b"0", b"0.0")


def negative(scene: Scene) -> str:
    """Less than none."""
    return _refused(scene, b"-1", b"-1e308")


def not_a_number(scene: Scene) -> str:
    """NaN and infinity, which are no JSON; text; nothing."""
    return _refused(scene, b"NaN", b"Infinity", b"-Infinity", b'"soon"', b"[]")


def huge(scene: Scene) -> str:
    """More than the service allows counts as what it allows; a number beyond all numbers is none."""
    seen = [only(ask(scene.port, _with_body(value)), 200) for value in (b"1e308", b"9" * 300)]
    seen += [only(ask(scene.port, scene.golden(f"{name}: {'9' * 15}")), 200) for name in _HEADERS]
    beyond = [only(ask(scene.port, _with_body(value)), 200, 400, 422) for value in (b"1e400", b"9" * 5000)]
    refused = [only(ask(scene.port, scene.golden(f"{name}: {'9' * 400}")), 422) for name in _HEADERS]
    return f"{len(seen)} x 200; beyond all numbers {_or(beyond)} in the body, {_or(refused)} in headers"


def twice_in_body(scene: Scene) -> str:
    """JSON's usual way: the last one counts."""
    long_last = ask(scene.port, _with_body(b'1, "timeout_ms": 5000'))
    only(long_last, 200)
    expect(scene.is_golden(long_last), "other scores")
    short_last = ask(scene.port, _with_body(b'5000, "timeout_ms": 1'))
    return f"200; the other way round {only(short_last, 503, 504)}"


def twice_in_headers(scene: Scene) -> str:
    """The shortest counts, whatever their order and names."""
    pairs = [(first, second) for first in _HEADERS for second in _HEADERS]
    seen = [only(ask(scene.port, scene.golden(f"{a}: 5000", f"{b}: 1")), 503, 504) for a, b in pairs]
    seen += [only(ask(scene.port, scene.golden(f"{a}: 1", f"{b}: 5000")), 503, 504) for a, b in pairs]
    return _or(seen)


def header_and_body(scene: Scene) -> str:
    """The shorter counts."""
    name = _HEADERS[0]
    seen = [
        only(ask(scene.port, scene.golden(f"{name}: 1", timeout_ms=5000)), 503, 504),
        only(ask(scene.port, scene.golden(f"{name}: 5000", timeout_ms=1)), 503, 504),
    ]
    return _or(seen)


def _refused(scene: Scene, *values: bytes) -> str:
    """In the body 400 or 422, in the headers 422."""
    seen = {only(ask(scene.port, _with_body(value)), 400, 422) for value in values}
    seen |= {
        only(ask(scene.port, scene.golden(f"{name}: {value.decode()}")), 422) for name in _HEADERS for value in values
    }
    return f"{_or(seen)} for {', '.join(value.decode() for value in values)}"


def _or(statuses: Iterable[str]) -> str:
    return " or ".join(sorted(set(statuses)))


def _with_body(value: bytes) -> bytes:
    """The golden request with this for `timeout_ms`, whatever it is."""
    marked = golden_body(timeout_ms="HERE")
    return post(marked.replace(json.dumps("HERE").encode(), value))


def _fault(name: str, expectation: str, run: Run) -> Fault:
    return Fault(f"deadline {name}", "deadlines", expectation, run, PACED)


FAULTS = (
    _fault("0", "422", zero),
    _fault("negative", "422", negative),
    _fault("NaN", "400 or 422", not_a_number),
    _fault("huge", "200: the service's own limit counts", huge),
    _fault("twice in the body", "the last counts", twice_in_body),
    _fault("twice in headers", "the shortest counts", twice_in_headers),
    _fault("in header and body", "the shorter counts", header_and_body),
)

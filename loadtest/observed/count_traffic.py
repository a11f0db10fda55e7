"""Requests of every kind of ending: good ones, wrong ones, hurried ones, and callers that leave."""

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, cycle

from ..client import Endpoint
from ..generator.wire import WireRequest, wire_request
from ..traffic.requests import make_request
from ..traffic.synthetic import synthetic_request

_SIZES = (1, 5, 16, 64, 64, 200)
_LARGE = 1000
_MANY_BYTES = 3 << 20
_ABANDON_S = 0.05
_LATE_MS = 20
_IN_TIME = {"x-request-timeout-ms": "1000"}


@dataclass(frozen=True, slots=True)
class Kinds:
    """Makes requests to one endpoint.

    Attributes:
        key: that every request carries; None: the service asks for none.
        seed: of what is made up.
    """

    endpoint: Endpoint
    key: str | None
    seed: int

    def good(self, count: int, headers: dict[str, str] | None = None) -> list[WireRequest]:
        """Of several sizes."""
        sizes = cycle(_SIZES)
        return [
            self._post(self._body(number, next(sizes)), number_of_products(number), headers) for number in range(count)
        ]

    def wrong(self) -> list[WireRequest]:
        """One for each way in which a request can be wrong; 401 only where a key is needed."""
        body = self._body(0, 1)
        wrong = [
            self._post(b'{"query": "usb', 0),
            self._post(json.dumps({**json.loads(body), "top_k": 3}).encode(), 0),
            self._post(gzip.compress(b" " * _MANY_BYTES, mtime=0), 0, {"content-encoding": "gzip"}),
            self._post(body, 0, {"content-type": "text/plain"}),
            self._post(json.dumps({**json.loads(body), "model": "no such model"}).encode(), 0),
        ]
        if self.key is not None:
            wrong.append(wire_request(self.endpoint, body, 0, {"authorization": "Bearer another"}))
        return wrong

    def wild(self) -> Iterator[WireRequest]:
        """Of all kinds, without end: more than a service can do, of which some is late, partial or abandoned."""
        good, wrong = cycle(self.good(60, _IN_TIME)), cycle(self.wrong())
        large = self._body(1, _LARGE)
        partial = {**json.loads(self._body(2, 64)), "partial": True, "timeout_ms": 1e-3}
        hasty = self._post(json.dumps(partial).encode(), 64)
        pressed = self._post(large, _LARGE, {"x-request-timeout-ms": "5"})
        whole = self._post(large, _LARGE, {"x-request-timeout-ms": str(_LATE_MS), "connection": "close"})
        # The rest of the body never comes: the deadline passes, or the caller has left before.
        late = replace(whole, data=whole.data[:-100])
        gone = replace(self._post(large, _LARGE), abandon_s=_ABANDON_S)
        gone = replace(gone, data=gone.data[:-100])
        for number, request in enumerate(good):
            yield request
            if number % 4 == 0:
                yield next(wrong)
            yield from ((hasty,) if number % 5 == 0 else ())
            yield from ((pressed,) if number % 6 == 0 else ())
            yield from ((late,) if number % 10 == 0 else ())
            yield from ((gone,) if number % 15 == 0 else ())

    def _body(self, number: int, products: int) -> bytes:
        return make_request(*synthetic_request(number, products, self.seed)).body

    def _post(self, body: bytes, products: int, headers: dict[str, str] | None = None) -> WireRequest:
        key = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        return wire_request(self.endpoint, body, products, {**key, **(headers or {})})


def number_of_products(number: int) -> int:
    """Of the good request of this number."""
    return _SIZES[number % len(_SIZES)]


def one_by_one(requests: int, rate: float, seed: int) -> list[tuple[float, int]]:
    """Poisson arrivals of so many requests, each once."""
    made = random.Random(f"counts {seed}")
    due_s = accumulate(made.expovariate(rate) for _ in range(requests))
    return [(at_s, number) for number, at_s in enumerate(due_s)]


def calm(kinds: Kinds, count: int) -> Sequence[WireRequest]:
    """Good requests, and between them the wrong ones."""
    wrong = cycle(kinds.wrong())
    return [each for request in kinds.good(count) for each in (request, next(wrong))]

"""What a fault gets to work on: a service that runs, and a request whose right answer is known."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import LoadtestError
from ..servers import Server
from ..target import Target
from ..traffic.requests import make_request
from ..traffic.synthetic import synthetic_request
from .raw import Answer, ask, get, post

_POLL_S = 0.02
TOLERANCE = 1e-4


class NotAsExpected(LoadtestError):  # noqa: N818 - it is a finding, not an error
    """What was seen instead."""


@dataclass(slots=True)
class Scene:
    """One service.

    Attributes:
        port: on this machine.
        server: its process, where it is ours.
        scores: the right answer to `golden()`; empty until it is known.
        planted_500s: how many answers with 500 the fault may have caused so far.
        patience_s: how long whatever has to come may take.
    """

    port: int
    server: Server | None = None
    scores: list[float] = field(default_factory=list)
    planted_500s: int = 0
    patience_s: float = 15.0

    @property
    def process(self) -> Server:
        """Its process.

        Raises:
            LoadtestError: it is not ours.
        """
        if self.server is None:
            raise LoadtestError("expected a service that this command started")
        return self.server

    @property
    def target(self) -> Target:
        """As the promises know it."""
        return Target(f"http://127.0.0.1:{self.port}", self.server.pid if self.server else None, self.server)

    def golden(self, *headers: str, **fields: Any) -> bytes:
        """The request whose scores are known, with other headers and fields, which do not change them."""
        return post(golden_body(**fields), *headers)

    def is_golden(self, answer: Answer) -> bool:
        """Whether it has the right scores."""
        try:
            scores = answer.json()["scores"]
        except (ValueError, KeyError, TypeError):
            return False
        return (
            answer.status == 200
            and isinstance(scores, list)
            and len(scores) == len(self.scores)
            and all(
                isinstance(score, float | int) and abs(score - right) <= TOLERANCE
                for score, right in zip(scores, self.scores, strict=True)
            )
        )

    def metrics(self) -> Mapping[str, float]:
        """GET /metrics, by name and labels as they are printed."""
        lines = ask(self.port, get("/metrics")).body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def metric(self, name: str) -> float:
        """One of them, without its prefix; 0 where it is missing."""
        return self.metrics().get(f"shelfscore_{name}", 0.0)

    def status(self, path: str) -> int | None:
        """Of a GET; None where nobody answers."""
        try:
            return ask(self.port, get(path)).status
        except OSError:
            return None

    def wait_until(self, what: str, condition: Callable[[], bool], patience_s: float | None = None) -> float:
        """Returns the seconds that it took. `patience_s`: where it is another than the scene's.

        Raises:
            NotAsExpected: it did not come.
        """
        started_s = time.monotonic()
        limit_s = self.patience_s if patience_s is None else patience_s
        while not condition():
            if time.monotonic() - started_s > limit_s:
                raise NotAsExpected(f"not within {limit_s:g} s: {what}")
            time.sleep(_POLL_S)
        return time.monotonic() - started_s

    @contextmanager
    def counting(self, name: str, by: int = 1) -> Iterator[None]:
        """Over the block a counter has to rise by so much, and no more.

        Raises:
            NotAsExpected: it did not.
        """
        before = self.metric(name)
        yield
        self.wait_until(f"{name} + {by}", lambda: self.metric(name) >= before + by)
        expect(self.metric(name) == before + by, f"{name} rose by {self.metric(name) - before:g}, expected {by}")


def golden_body(**fields: Any) -> bytes:
    """The body of the request whose scores are known."""
    query, products = synthetic_request(0, 3, 1)
    contents = json.loads(make_request(query, products).body)
    return json.dumps({**contents, **fields}).encode()


def expect(held: bool, otherwise: str) -> None:
    """Raises NotAsExpected where something does not hold."""
    if not held:
        raise NotAsExpected(otherwise)


def statuses_of(answers: Sequence[Answer | None]) -> str:
    """In words, such as `2 x 200, 1 x closed`."""
    shown = ["closed" if answer is None else str(answer.status) for answer in answers]
    return ", ".join(f"{shown.count(each)} x {each}" for each in dict.fromkeys(shown)) or "none"


def only(answer: Answer | None, *statuses: int) -> str:
    """The status in words, where it is one of these.

    Raises:
        NotAsExpected: it is not.
    """
    seen = "closed" if answer is None else str(answer.status)
    expect(answer is not None and answer.status in statuses, f"{seen}, expected {' or '.join(map(str, statuses))}")
    return seen

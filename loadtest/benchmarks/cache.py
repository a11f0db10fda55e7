"""What the caches bring: the same requests in the same order to servers with and without them, answers compared."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..errors import ServerError
from ..measure import percentile
from ..traffic.requests import ScoreRequest
from .hosting import Hosted
from .observed import Counters, hits_and_lookups
from .protocols import ScoreProtocol

CACHES = ("score", "token")


@dataclass(frozen=True, slots=True)
class Turn:
    """One server's requests of one round, one at a time."""

    latencies_ms: Sequence[float]
    pairs: int
    wall_s: float
    lookups: dict[str, tuple[float, float]]
    """(hits, lookups) by cache; without those that count nothing."""

    @property
    def p50_ms(self) -> float:
        """Nearest rank."""
        return percentile(self.latencies_ms, 0.5)

    @property
    def mean_ms(self) -> float:
        """Of the latencies."""
        return statistics.fmean(self.latencies_ms)

    @property
    def pairs_per_s(self) -> float:
        """By the clock on the wall."""
        return self.pairs / self.wall_s


@dataclass(slots=True)
class Compared:
    """A server's answers against the first server's."""

    numbers: int = 0
    """Scores and logits compared, those of the warm-up too."""
    different: int = 0
    """Numbers whose text in the answer is another one."""
    largest: float = 0.0
    """Difference."""


@dataclass(slots=True)
class Entry:
    """A server and what came of it."""

    name: str
    turns: list[Turn] = field(default_factory=list)
    compared: Compared = field(default_factory=Compared)

    def hit_ratio(self, cache: str, part: slice = slice(None)) -> float | None:
        """Over some rounds; None where nothing was looked up."""
        found = [turn.lookups[cache] for turn in self.turns[part] if cache in turn.lookups]
        lookups = sum(count for _, count in found)
        return sum(hits for hits, _ in found) / lookups if lookups else None


def measure_caches(
    servers: Sequence[Hosted],
    warm_up: Sequence[ScoreRequest],
    rounds: Sequence[Sequence[ScoreRequest]],
    say: Callable[[str], object],
) -> list[Entry]:
    """Asks all servers the warm-up and then round after round, the first server of a round changing with it.

    Raises:
        ServerError: a server failed, or answered with other than a number for each product.
    """
    entries = [Entry(server.name) for server in servers]
    for number, requests in enumerate([warm_up, *rounds]):
        numbers: dict[int, list[list[str]]] = {}
        for step in range(len(servers)):
            index = (number + step) % len(servers)
            turn, numbers[index] = _take_turn(servers[index], requests)
            if number:
                entries[index].turns.append(turn)
        for index, entry in enumerate(entries):
            _compare(entry.compared, numbers[index], numbers[0])
        if number:
            shown = ", ".join(f"{entry.name} {entry.turns[-1].p50_ms:.1f} ms" for entry in entries)
            say(f"round {number} of {len(rounds)}: {shown}")
    return entries


def _take_turn(server: Hosted, requests: Sequence[ScoreRequest]) -> tuple[Turn, list[list[str]]]:
    before = server.counters()
    asked = server.ask(ScoreProtocol.path, [request.body for request in requests])
    after = server.counters()
    turn = Turn(
        latencies_ms=[answer.latency_ms for answer in asked.answers],
        pairs=sum(len(request.products) for request in requests),
        wall_s=asked.wall_s,
        lookups=_lookups(after, before),
    )
    numbers = [
        _numbers(server.name, answer.reply.body, len(request.products))
        for request, answer in zip(requests, asked.answers, strict=True)
    ]
    return turn, numbers


def _lookups(after: Counters, before: Counters) -> dict[str, tuple[float, float]]:
    found = {cache: hits_and_lookups(after, before, cache) for cache in CACHES}
    return {cache: counted for cache, counted in found.items() if counted and counted[1]}


def _numbers(name: str, body: bytes, products: int) -> list[str]:
    """Scores and logits as they are written in the answer."""
    numbers: list[str] = []
    try:
        answer = json.loads(body, parse_float=str, parse_int=str)
        for key in ("scores", "logits"):
            numbers += answer[key]
    except (ValueError, KeyError, TypeError):
        numbers = []
    if len(numbers) != 2 * products or not all(isinstance(number, str) for number in numbers):
        raise ServerError(f"{name}: expected {products} scores and logits, all of them numbers")
    return numbers


def _compare(compared: Compared, own: Sequence[Sequence[str]], first: Sequence[Sequence[str]]) -> None:
    for mine, theirs in zip(own, first, strict=True):
        compared.numbers += len(mine)
        for one, other in zip(mine, theirs, strict=True):
            if one != other:
                compared.different += 1
                compared.largest = max(compared.largest, abs(float(one) - float(other)))

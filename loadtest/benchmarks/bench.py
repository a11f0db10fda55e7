"""The side-by-side benchmark: all servers up, asked in turns, the same requests in the same order.

Rounds go A B C, then B C A, at one request in flight and again at several, so that whatever else the machine does hits
all alike and nobody always follows the same one; figures are compared within a round.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ..client import Connection, Endpoint, Reply
from ..errors import ServerError
from ..measure import percentile
from ..servers import Server, Usage, free_port
from ..traffic.requests import ScoreRequest
from .closed_loop import ask_all
from .contestants import Contestant
from .lean import LeanConnection
from .observed import Counters, Found, Kept, read_counters
from .protocols import ProductText, Speaks, read_model, text_of_template


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    requests: int
    """Requests a turn: of one contestant, at one number in flight, in one round."""
    warmup: int
    """Requests before the first round, not counted."""
    ready_timeout_s: float
    request_timeout_s: float
    ports: tuple[int, int] | None = None
    in_flight: Sequence[int] = (1, 4)
    """Numbers of requests in flight, each measured in every round."""
    settle_s: float = 0.3
    """Pause before a turn, in which the turn before it comes to rest."""
    pairs_repeat: bool = False
    """Whether a pair of query and product may come again: if not, no score cache can hit."""

    @property
    def needed(self) -> int:
        """Requests that one contestant is asked."""
        return self.warmup + self.rounds * self.requests * len(self.in_flight)

    def requests_of(self, number: int, level: int) -> range:
        """Which requests a turn asks: `level` is the place in `in_flight`. Those of the warm-up come first."""
        first = self.warmup + (number * len(self.in_flight) + level) * self.requests
        return range(first, first + self.requests)


@dataclass(frozen=True, slots=True)
class Turn:
    """One contestant's requests of one round at one number in flight."""

    number: int
    in_flight: int
    latencies_ms: Sequence[float]
    pairs: int
    wall_s: float
    """From the first request to the last answer."""
    cpu_s: float
    """Of the server."""
    client_cpu_s: float
    found: Found = field(default_factory=Found)
    """What the server had already."""

    @property
    def p50_ms(self) -> float:
        """Nearest rank."""
        return percentile(self.latencies_ms, 0.5)

    @property
    def p99_ms(self) -> float:
        """Nearest rank: the slowest, of fewer than 100 requests."""
        return percentile(self.latencies_ms, 0.99)

    @property
    def pairs_per_s(self) -> float:
        """By the clock on the wall."""
        return self.pairs / self.wall_s


@dataclass(slots=True)
class Entry:
    """A contestant and what came of it."""

    contestant: Contestant
    turns: list[Turn] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    """Of the first turn's requests."""
    ready_s: float | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    kept: Kept | None = None
    """Products in memory after the last turn."""
    failure: str | None = None
    last_lines: Sequence[str] = ()

    @property
    def found(self) -> Found:
        """What the server had already, over all turns."""
        return Found.together(turn.found for turn in self.turns)

    def turns_at(self, in_flight: int) -> list[Turn]:
        """Those at one number in flight."""
        return [turn for turn in self.turns if turn.in_flight == in_flight]

    def p99_ms(self, in_flight: int) -> float:
        """Of all requests at one number in flight, over all rounds."""
        return percentile([ms for turn in self.turns_at(in_flight) for ms in turn.latencies_ms], 0.99)


@dataclass(slots=True)
class Result:
    """Of a benchmark. `interrupted`: what was measured until then."""

    entries: list[Entry]
    text: ProductText
    interrupted: bool = False


@dataclass(slots=True)
class _Lane:
    entry: Entry
    server: Server
    speaks: Speaks
    connections: Sequence[Connection]


def run_bench(
    contestants: Sequence[Contestant],
    requests: Sequence[ScoreRequest],
    plan: Plan,
    *,
    text: ProductText | None,
    log_dir: Path,
    say: Callable[[str], object],
    introduction: Sequence[ScoreRequest] = (),
) -> Result:
    """Starts, measures and stops all contestants. One that fails drops out and is reported; the others go on.

    Args:
        contestants: who.
        requests: at least `plan.needed`; that no pair comes twice in them, unless the plan says so, is the caller's
            care.
        plan: how much.
        text: what servers without fields get of a product; without it, what the first server's template reads.
        log_dir: for what the servers print.
        say: told of the progress, a line at a time.
        introduction: requests to the servers of our contract before the warm-up.
    """
    result = Result([Entry(contestant) for contestant in contestants], text or ProductText())
    lanes: list[_Lane] = []
    servers: list[Server] = []
    try:
        for entry in result.entries:
            say(f"starting {entry.contestant.name}")
            if lane := _start(entry, result, plan, log_dir, servers, learn_text=text is None):
                lanes.append(lane)
        for lane in lanes:
            first = () if lane.entry.contestant.peer else introduction
            _attempt(lane, partial(_warm_up, requests=[*first, *requests[: plan.warmup]]))
        for number in range(plan.rounds):
            for level in range(len(plan.in_flight)):
                for lane in _rotated(lanes, number):
                    if lane.entry.failure is None:
                        _attempt(lane, partial(_take_turn, requests=requests, plan=plan, number=number, level=level))
                say(_progress(result, plan, number, level))
        for lane in lanes:
            _look_back(lane, plan)
    except KeyboardInterrupt:
        result.interrupted = True
    finally:
        for lane in lanes:
            for connection in lane.connections:
                connection.close()
        for server in servers:
            server.stop()
    return result


def _start(
    entry: Entry, result: Result, plan: Plan, log_dir: Path, servers: list[Server], *, learn_text: bool
) -> _Lane | None:
    contestant = entry.contestant
    log = log_dir / f"{len(servers)}-{''.join(c if c.isalnum() else '-' for c in contestant.name)}.log"
    server = None
    try:
        port = free_port(*plan.ports) if plan.ports else free_port()
        server = Server.start(contestant.argv_at(port), port, contestant.environment_at(port), log)
        servers.append(server)
        speaks = contestant.speaks(result.text)
        entry.ready_s = server.wait_ready(speaks.ready_path, plan.ready_timeout_s)
    except ServerError as error:
        entry.failure = str(error)
        entry.last_lines = server.last_lines() if server else ()
        return None
    endpoint = Endpoint.parse(server.url)
    connections = [LeanConnection(endpoint, plan.request_timeout_s) for _ in range(max(plan.in_flight))]
    if not contestant.peer:
        entry.manifest = read_model(connections[0])
        if learn_text and entry is result.entries[0]:
            result.text = text_of_template(entry.manifest) or result.text
    return _Lane(entry, server, speaks, connections)


def _rotated(lanes: Sequence[_Lane], by: int) -> list[_Lane]:
    return [lanes[(by + place) % len(lanes)] for place in range(len(lanes))]


def _attempt(lane: _Lane, step: Callable[[_Lane], None]) -> None:
    try:
        step(lane)
    except (ServerError, OSError, HTTPException) as error:
        # A process that drops its connection is often about to end.
        code = lane.server.exit_code(wait_s=0.5)
        died = f"died with exit code {code}: " if code is not None else ""
        lane.entry.failure = died + (str(error) or type(error).__name__)
        lane.entry.last_lines = lane.server.last_lines()


def _warm_up(lane: _Lane, requests: Sequence[ScoreRequest]) -> None:
    asked = ask_all(lane.connections, lane.speaks.path, [lane.speaks.encode(request) for request in requests])
    for request, answer in zip(requests, asked.answers, strict=True):
        _scores(lane, request, answer.reply)


def _take_turn(lane: _Lane, requests: Sequence[ScoreRequest], plan: Plan, number: int, level: int) -> None:
    chosen = [requests[index] for index in plan.requests_of(number, level)]
    bodies = [lane.speaks.encode(request) for request in chosen]
    in_flight = plan.in_flight[level]
    counted = _counters(lane)
    time.sleep(plan.settle_s)
    before = lane.server.usage()
    asked = ask_all(lane.connections[:in_flight], lane.speaks.path, bodies)
    lane.entry.usage = lane.server.usage()
    scores = [_scores(lane, request, answer.reply) for request, answer in zip(chosen, asked.answers, strict=True)]
    lane.entry.turns.append(
        Turn(
            number=number,
            in_flight=in_flight,
            latencies_ms=[answer.latency_ms for answer in asked.answers],
            pairs=sum(len(request.products) for request in chosen),
            wall_s=asked.wall_s,
            cpu_s=lane.entry.usage.cpu_s - before.cpu_s,
            client_cpu_s=asked.client_cpu_s,
            found=Found.between(_counters(lane), counted),
        )
    )
    if number == 0 and level == 0:
        lane.entry.scores = scores


def _counters(lane: _Lane) -> Counters:
    """Nothing of a peer, which has counters of its own."""
    return {} if lane.entry.contestant.peer else read_counters(lane.connections[0])


def _look_back(lane: _Lane, plan: Plan) -> None:
    """A hit of a score cache is no measurement: unless pairs repeat, and its settings gave it one."""
    entry = lane.entry
    if entry.failure is not None:
        return
    entry.kept = Kept.of(_counters(lane))
    if entry.found.hits.get("score"):
        if not plan.pairs_repeat:
            entry.failure = "answered from a score cache, though no pair was asked twice"
        elif not entry.contestant.keeps_scores:
            entry.failure = "answered from a score cache, which its settings do not give it"


def _scores(lane: _Lane, request: ScoreRequest, reply: Reply) -> list[float]:
    scores: list[float] = []
    with suppress(ValueError, KeyError, TypeError):
        scores = lane.speaks.decode(reply.body)
    if len(scores) != len(request.products):
        raise ServerError(
            f"answered another number of scores than of products: {len(scores)} for {len(request.products)}"
        )
    return scores


def _progress(result: Result, plan: Plan, number: int, level: int) -> str:
    shown = []
    for entry in result.entries:
        last = f"{entry.turns[-1].p50_ms:.1f} ms" if entry.turns and entry.failure is None else "failed"
        shown.append(f"{entry.contestant.name} {last}")
    return f"round {number + 1} of {plan.rounds}, {plan.in_flight[level]} in flight: " + ", ".join(shown)

"""The side-by-side benchmark: all servers up, asked in turns, one request at a time, the same requests.

Rounds go A B C A B C, so that whatever else the machine does hits all alike; figures are compared within a round.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from .client import JSON_HEADERS, Connection, Endpoint
from .contestants import Contestant
from .errors import ServerError
from .measure import percentile
from .protocols import ProductText, Speaks, read_model, text_of_template
from .servers import Server, Usage, free_port
from .traffic import ScoreRequest

_SETTLE_S = 0.3


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    requests: int
    """Requests a round."""
    warmup: int
    """Requests before the first round, not counted."""
    ready_timeout_s: float
    request_timeout_s: float
    ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One contestant's requests of one round."""

    latencies_ms: Sequence[float]
    pairs: int
    cpu_s: float

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
        """Over the time spent waiting for answers."""
        return self.pairs / (sum(self.latencies_ms) / 1e3)


@dataclass(slots=True)
class Entry:
    """A contestant and what came of it."""

    contestant: Contestant
    turns: list[Turn] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    """Of the first round's requests."""
    ready_s: float | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage | None = None
    failure: str | None = None
    last_lines: Sequence[str] = ()


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
    connection: Connection


def run_bench(
    contestants: Sequence[Contestant],
    requests: Sequence[ScoreRequest],
    plan: Plan,
    *,
    text: ProductText | None,
    log_dir: Path,
    say: Callable[[str], object],
) -> Result:
    """Starts, measures and stops all contestants. One that fails drops out and is reported; the others go on.

    `text` is what servers without fields get of a product; without it, what the first server's template reads.
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
            _attempt(_warm_up, lane, requests, plan, plan.rounds)
        for number in range(plan.rounds):
            for lane in lanes:
                if lane.entry.failure is None:
                    _attempt(_take_turn, lane, requests, plan, number)
            say(f"round {number + 1} of {plan.rounds}: " + ", ".join(map(_progress, result.entries)))
    except KeyboardInterrupt:
        result.interrupted = True
    finally:
        for lane in lanes:
            lane.connection.close()
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
    connection = Connection(Endpoint.parse(server.url), plan.request_timeout_s)
    if not contestant.peer:
        entry.manifest = read_model(connection)
        if learn_text and entry is result.entries[0]:
            result.text = text_of_template(entry.manifest) or result.text
    return _Lane(entry, server, speaks, connection)


def _attempt(
    step: Callable[[_Lane, Sequence[ScoreRequest], Plan, int], None],
    lane: _Lane,
    requests: Sequence[ScoreRequest],
    plan: Plan,
    number: int,
) -> None:
    try:
        step(lane, requests, plan, number)
    except (ServerError, OSError, HTTPException) as error:
        # A process that drops its connection is often about to end.
        code = lane.server.exit_code(wait_s=0.5)
        died = f"died with exit code {code}: " if code is not None else ""
        lane.entry.failure = died + (str(error) or type(error).__name__)
        lane.entry.last_lines = lane.server.last_lines()


def _warm_up(lane: _Lane, requests: Sequence[ScoreRequest], plan: Plan, number: int) -> None:
    """Asks what would come after the last round: nothing that is measured."""
    first = number * plan.requests
    for index in range(first, first + plan.warmup):
        _ask(lane, requests[index % len(requests)])


def _take_turn(lane: _Lane, requests: Sequence[ScoreRequest], plan: Plan, number: int) -> None:
    time.sleep(_SETTLE_S)
    chosen = [requests[i % len(requests)] for i in range(number * plan.requests, (number + 1) * plan.requests)]
    before = lane.server.usage()
    answers = [_ask(lane, request) for request in chosen]
    lane.entry.usage = lane.server.usage()
    lane.entry.turns.append(
        Turn(
            latencies_ms=[latency_ms for latency_ms, _ in answers],
            pairs=sum(len(request.products) for request in chosen),
            cpu_s=lane.entry.usage.cpu_s - before.cpu_s,
        )
    )
    if number == 0:
        lane.entry.scores = [scores for _, scores in answers]


def _ask(lane: _Lane, request: ScoreRequest) -> tuple[float, list[float]]:
    body = lane.speaks.encode(request)
    # Some servers close a connection that idles while the others have their turns.
    lane.connection.refresh()
    start = time.perf_counter()
    reply = lane.connection.request("POST", lane.speaks.path, body, JSON_HEADERS)
    latency_ms = (time.perf_counter() - start) * 1e3
    if reply.status != 200:
        raise ServerError(f"answered {reply.status}: {reply.body[:200].decode('utf-8', 'replace')}")
    scores: list[float] = []
    problem = "another number of scores than of products"
    with suppress(ValueError, KeyError, TypeError):
        scores = lane.speaks.decode(reply.body)
    if len(scores) != len(request.products):
        raise ServerError(f"answered {problem}: {len(scores)} for {len(request.products)}")
    return latency_ms, scores


def _progress(entry: Entry) -> str:
    last = f"{entry.turns[-1].p50_ms:.1f} ms" if entry.turns and entry.failure is None else "failed"
    return f"{entry.contestant.name} {last}"

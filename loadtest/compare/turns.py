"""Plays the same arrivals of the same requests to one contestant after another, at each rate, round after round."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..benchmarks.contestants import Contestant
from ..benchmarks.hosting import Hosted
from ..benchmarks.protocols import ProductText, ScoreProtocol, Speaks
from ..client import Endpoint
from ..generator.plan import OpenSample, Plan, Played
from ..generator.process import play
from ..generator.wire import WireAnswer, WireRequest, judge_answer, wire_request
from ..judging import Judged
from ..measure import Distribution, Outcome, distribution
from ..promises.workload import arrivals_of
from ..traffic.requests import ScoreRequest

_IDLE_CORES = 0.1
_IDLE_S = 0.25
_MOST_REST_S = 60.0


@dataclass(frozen=True, slots=True)
class JudgeBy:
    """What an answer amounts to in a protocol other than ours: it holds a number for each product, or it failed."""

    speaks: Speaks

    def __call__(self, answer: WireAnswer, products: int) -> Judged:
        """Of a request of so many products."""
        if answer.status != 200:
            return judge_answer(answer, products)
        try:
            scores = self.speaks.decode(answer.body)
        except (ValueError, KeyError, TypeError):
            return Judged(Outcome.FAILED, "status 200 without scores")
        if len(scores) != products:
            return Judged(Outcome.FAILED, "status 200 with another number of scores than of products")
        return Judged(Outcome.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contestant that runs, with the requests in its own protocol."""

    hosted: Hosted
    requests: Sequence[WireRequest]
    judge: Callable[[WireAnswer, int], Judged]

    @classmethod
    def of(
        cls, contestant: Contestant, hosted: Hosted, requests: Sequence[ScoreRequest], text: ProductText
    ) -> "Entrant":
        """`text`: what servers without fields get of a product."""
        speaks = contestant.speaks(text)
        endpoint = Endpoint.parse(hosted.server.url)
        made = [
            wire_request(endpoint, speaks.encode(request), len(request.products), path=speaks.path)
            for request in requests
        ]
        return cls(hosted, made, judge_answer if isinstance(speaks, ScoreProtocol) else JudgeBy(speaks))

    @property
    def name(self) -> str:
        """Of the contestant."""
        return self.hosted.name


@dataclass(frozen=True, slots=True)
class Turn:
    """One contestant at one rate in one round."""

    name: str
    rate: float
    number: int
    """Of the round."""
    samples: Sequence[OpenSample]
    """Counted ones."""
    server_cores: float
    """Used by the server while its requests were in work."""

    @property
    def accepted_ms(self) -> Distribution | None:
        """Latency of accepted requests."""
        return accepted_of(self.samples)

    @property
    def lag_ms(self) -> Distribution | None:
        """How late the generator was."""
        return distribution(sample.lag_ms for sample in self.samples)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is played."""

    rates: Sequence[float]
    rounds: int
    turn_s: float
    warmup_s: float
    """At the same rate before each turn, not counted."""
    timeout_s: float
    """An answer later than this has failed."""
    seed: int


def accepted_of(samples: Sequence[OpenSample]) -> Distribution | None:
    """Latency of accepted requests, milliseconds from the scheduled time."""
    return distribution(sample.latency_ms for sample in samples if sample.outcome is Outcome.ACCEPTED)


def take_turns(
    entrants: Sequence[Entrant],
    schedule: Schedule,
    turns: list[Turn],
    *,
    say: Callable[[str], object],
    run: Callable[[Plan], Played] = play,
    pause: Callable[[float], Any] = time.sleep,
) -> None:
    """Fills `turns`, so that those before an interruption stay.

    All contestants get equal arrivals at a rate in a round; a round begins with another contestant each time, and a
    turn when all servers are idle.

    Raises:
        KeyboardInterrupt: it was stopped.
        ServerError: a server died.
    """
    for number in range(schedule.rounds):
        for place, rate in enumerate(schedule.rates):
            first = number + place
            for offset in range(len(entrants)):
                entrant = entrants[(first + offset) % len(entrants)]
                wait_idle([each.hosted.cpu_s for each in entrants], _MOST_REST_S, pause)
                turn = _take_turn(entrant, schedule, rate, number, run)
                turns.append(turn)
                latency = turn.accepted_ms
                shown = f"p99 {latency.p99:.1f} ms" if latency else "nothing accepted"
                say(f"round {number + 1} of {schedule.rounds}, {rate:g}/s, {entrant.name}: {shown}")


def wait_idle(cpu_s: Sequence[Callable[[], float]], most_s: float, pause: Callable[[float], Any]) -> None:
    """Until none of the servers works on what its callers have given up, or for so many seconds."""
    before = [read() for read in cpu_s]
    for _ in range(max(1, round(most_s / _IDLE_S))):
        pause(_IDLE_S)
        now = [read() for read in cpu_s]
        if all(after - then <= _IDLE_CORES * _IDLE_S for after, then in zip(now, before, strict=True)):
            return
        before = now


def _take_turn(entrant: Entrant, schedule: Schedule, rate: float, number: int, run: Callable[[Plan], Played]) -> Turn:
    endpoint = Endpoint.parse(entrant.hosted.server.url)
    seconds = schedule.warmup_s + schedule.turn_s
    plan = Plan(
        endpoint.host,
        endpoint.port,
        entrant.requests,
        arrivals=arrivals_of(rate, seconds, len(entrant.requests), schedule.seed + number),
        judge=entrant.judge,
        timeout_s=schedule.timeout_s,
    )
    before_s = entrant.hosted.cpu_s()
    played = run(plan)
    if played.stopped:
        raise KeyboardInterrupt
    used_s = entrant.hosted.cpu_s() - before_s
    counted = [sample for sample in played.samples if sample.due_s >= schedule.warmup_s]
    return Turn(entrant.name, rate, number, counted, used_s / max(played.elapsed_s, 1e-9))

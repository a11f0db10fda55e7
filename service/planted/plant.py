"""Puts the planted faults where they belong: around the loader, the handler and the deadline."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from prometheus_client import Gauge
from starlette.types import ASGIApp, Receive, Scope, Send

from ..deadline import deadline_at
from ..metrics import PREFIX, Metrics
from ..model import Model
from ..runtime import Loader
from ..settings import Settings
from .engine import PlantedEngine, Runs
from .grammar import Fault, parse_faults

log = logging.getLogger(__name__)

NEVER_S = 60.0
"""How long a request whose deadline is ignored may take all the same."""


@dataclass(frozen=True, slots=True)
class Planted:
    """What the factory takes instead of the real things.

    Attributes:
        load: makes models with faults in them.
        wrap: around the scoring handler.
        deadline_at: when a request is taken to be due.
    """

    load: Loader
    wrap: Callable[[ASGIApp], ASGIApp]
    deadline_at: Callable[..., float]


def plant(settings: Settings, load: Loader, metrics: Metrics, clock: Callable[[], float]) -> Planted:
    """The faults that the settings name, said out loud in the log and in the metrics."""
    faults = parse_faults(settings.planted_faults)
    log.warning(
        "FAULTS ARE PLANTED: this service breaks on purpose and is not for production",
        extra={"fields": {"planted_faults": settings.planted_faults}},
    )
    info = Gauge("planted_faults", "Faults are planted: a test.", ["faults"], PREFIX, registry=metrics.registry)
    info.labels(settings.planted_faults).set(1)
    ignored = any(fault.kind == "no-deadlines" for fault in faults)
    handler_s = sum(fault.seconds for fault in faults if fault.kind == "handler-sleep")
    return Planted(
        load=partial(_load, load, faults, Runs(faults), clock),
        wrap=lambda handler: SleepyHandler(handler, handler_s) if handler_s else handler,
        deadline_at=_far_off if ignored else deadline_at,
    )


class SleepyHandler:
    """Sleeps before it handles, as a slow look-up would. Other requests go on meanwhile."""

    def __init__(self, handler: ASGIApp, sleep_s: float) -> None:
        self._handler = handler
        self._sleep_s = sleep_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(self._sleep_s)
        await self._handler(scope, receive, send)


def _load(
    load: Loader, faults: Sequence[Fault], runs: Runs, clock: Callable[[], float], settings: Settings, metrics: Metrics
) -> Model:
    time.sleep(sum(fault.seconds for fault in faults if fault.kind == "load-sleep"))
    model = load(settings, metrics)
    # Behind the golden pairs and the warm-up, which must not meet the faults, nor count as micro-batches.
    return replace(model, engine=PlantedEngine(model.engine, faults, runs, clock))


def _far_off(arrival: float, *_: float) -> float:
    return arrival + NEVER_S

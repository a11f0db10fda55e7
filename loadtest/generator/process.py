"""Runs the load generator in a process of its own, so that whatever else the command does cannot hold it up."""

import asyncio
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Self

import uvloop

from ..errors import LoadtestError
from .plan import Plan, Played
from .player import Player

_PRIORITY = -5
_END_S = 5.0


class Generator:
    """A plan being played by another process. Leaving the block stops it."""

    def __init__(self, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self._results, results = context.Pipe(duplex=False)
        # A pipe of its own: the event loop makes the one that it watches non-blocking.
        orders, self._orders = context.Pipe(duplex=False)
        self._process = context.Process(target=_play, args=(plan, orders, results), daemon=True)
        self._process.start()
        results.close()
        orders.close()
        self.ended = 0
        """Requests that have ended, as far as is known here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._results.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()

    def wait(self, on_progress: Callable[[int], None] = lambda _: None) -> Played:
        """Waits for the end. Ctrl-C stops the plan, and what was measured until then comes back, marked as stopped.

        Raises:
            LoadtestError: the process died.
        """
        while True:
            try:
                message = self._receive()
            except KeyboardInterrupt:
                self.stop()
                message = self._receive()
            if isinstance(message, Played):
                return message
            if isinstance(message, float):
                continue
            self.ended = message
            on_progress(message)

    def wait_started(self) -> float:
        """When the plan's time began, on the system's monotonic clock. Call it before `wait`."""
        message = self._receive()
        assert isinstance(message, float)
        return message

    def stop(self) -> None:
        """Has it send no more; `wait` then gives what was measured."""
        with suppress(OSError):
            self._orders.send("stop")

    def _receive(self) -> Any:
        try:
            return self._results.recv()
        except (EOFError, OSError):
            raise LoadtestError(f"the load generator died with exit code {self._process.exitcode}") from None


def play(plan: Plan, on_progress: Callable[[int], None] = lambda _: None) -> Played:
    """Plays a plan to its end in another process."""
    with Generator(plan) as generator:
        return generator.wait(on_progress)


def _play(plan: Plan, orders: Connection, results: Connection) -> None:
    # Ctrl-C reaches the whole group, and so may a polite end; the parent decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):
        # Callers on other machines would not wait for the server's threads.
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    gc.freeze()
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        played = runner.run(_play_until_told(plan, orders, results))
    _tell(results, played)


async def _play_until_told(plan: Plan, orders: Connection, results: Connection) -> Played:
    loop = asyncio.get_running_loop()
    player = Player(
        plan, on_progress=lambda ended: _tell(results, ended), on_start=lambda start_s: _tell(results, start_s)
    )

    def told() -> None:
        # An order, or the end of the parent: both mean the same.
        loop.remove_reader(orders.fileno())
        player.stop()

    loop.add_reader(orders.fileno(), told)
    try:
        return await player.play()
    finally:
        loop.remove_reader(orders.fileno())


def _tell(results: Connection, message: Played | float | int) -> None:
    # A parent that is gone wants no results.
    with suppress(BrokenPipeError, ConnectionResetError):
        results.send(message)

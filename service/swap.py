"""Replaces a model by what its folder holds by then, while requests go on.

Load and verify in a thread, then switch one reference on the event loop: a request that took the old model finishes on
it, every later one takes the other. What does not load, or misses its golden pairs, changes nothing but a metric and
the log. One swap at a time, the drain of the old model included: a name has two models in memory at most.
"""

import asyncio
import gc
import logging
import os
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from artifact import ArtifactError
from artifact.loading import read_manifest

from .metrics import Metrics
from .registry import LoadedModel, Registry, Slot, Target, follow
from .sessions import EngineError

log = logging.getLogger(__name__)

T = TypeVar("T")

RELEASE_LOOKS = 5
RELEASE_LOOK_S = 0.2
"""How often, and with what pause, it is made sure that a model which no request uses is gone."""

SWAPPED, UNCHANGED, FAILED = "swapped", "unchanged", "failed"


class Swapper:
    """Swaps the models of a registry. Belongs to the event loop.

    Args:
        registry: whose slots it changes.
        load: makes and verifies the model of a name from a folder; runs in the executor.
        executor: where files are read; one thread, so that looking waits for loading.
        metrics: told of every outcome.
        clock: monotonic, in seconds.
        on_settled: called when a model has been let go, or was not loaded, to free memory; runs in the executor.
        sleep: for so many seconds.
    """

    def __init__(
        self,
        registry: Registry,
        load: Callable[[str, Path], LoadedModel],
        executor: Executor,
        metrics: Metrics,
        clock: Callable[[], float],
        on_settled: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._registry = registry
        self._load = load
        self._executor = executor
        self._metrics = metrics
        self._clock = clock
        self._on_settled = on_settled
        self._sleep = sleep
        self._asked: set[str] = set()
        self._wake = asyncio.Event()
        self._nowhere: dict[str, Target] = {}
        for slot in registry.slots():
            for outcome in (SWAPPED, UNCHANGED, FAILED):
                metrics.swaps.labels(slot.name, outcome)

    def ask(self, names: Iterable[str]) -> None:
        """Has these models swapped for what their folders hold. Asking again before that begins adds nothing."""
        self._asked.update(names)
        self._wake.set()

    async def run(self) -> None:
        """Does what is asked, until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for slot in self._registry.slots():
                if slot.name in self._asked:
                    self._asked.discard(slot.name)
                    try:
                        await self._swap(slot)
                        await self._in_thread(self._on_settled)
                    except Exception:
                        # Later swaps must not die with this one.
                        log.exception("a swap broke off", extra={"fields": {"model": slot.name}, "of_no_request": True})

    async def watch(self, poll_s: float) -> None:
        """Looks every `poll_s` seconds, until it is cancelled."""
        while True:
            await self._sleep(poll_s)
            await self.look()

    async def look(self) -> None:
        """Asks for the models whose folder leads elsewhere than when it was last loaded.

        A link that leads nowhere may be in the middle of its replacement: it has to be found so twice.
        """
        for slot in self._registry.slots():
            target, is_folder = await self._in_thread(_look, slot)
            if target != slot.target and (is_folder or target == self._nowhere.get(slot.name)):
                self.ask([slot.name])
            self._nowhere.pop(slot.name, None)
            if not is_folder:
                self._nowhere[slot.name] = target

    async def _swap(self, slot: Slot) -> None:
        started = self._clock()
        fields: dict[str, object] = {"model": slot.name, "version": slot.current.version, "folder": str(slot.folder)}
        try:
            slot.target, _ = await self._in_thread(_look, slot)
            fields["folder"] = str(slot.target.folder)
            loaded = await self._in_thread(self._load_changed, slot)
        except asyncio.CancelledError:
            log.info("model not swapped, the service is stopping", extra={"fields": fields})
            raise
        except Exception as error:
            self._say_why(error, fields)
            self._count(slot, FAILED)
            return
        if loaded is None:
            log.info("model not swapped, its version is unchanged", extra={"fields": fields})
            self._count(slot, UNCHANGED)
            return
        slot.old, slot.current = slot.current, loaded
        switched = self._clock()
        self._metrics.model_info.remove(*slot.old.info)
        self._metrics.model_info.labels(*loaded.info).set(1)
        fields |= {"version": loaded.version, "old_version": slot.old.version}
        log.info("model swapped", extra={"fields": {**fields, "load_s": round(switched - started, 3)}})
        self._count(slot, SWAPPED)
        if await self._release(slot):
            log.info("old model released", extra={"fields": {**fields, "drain_s": round(self._clock() - switched, 3)}})
        else:
            log.warning("something still holds a model that was swapped out", extra={"fields": fields})

    async def _release(self, slot: Slot) -> bool:
        """Waits until no request uses the old model, then has its memory freed. Returns whether it is gone."""
        assert slot.old is not None
        await slot.old.unused.wait()
        scorer = weakref.ref(slot.old.scorer)
        slot.old = None
        for _ in range(RELEASE_LOOKS):
            await self._in_thread(self._on_settled)
            if scorer() is None:
                return True
            # A lane may still be at the end of a micro-batch of the last request, and a finished request be a cycle.
            await self._sleep(RELEASE_LOOK_S)
            await self._in_thread(gc.collect)
        return False

    def _load_changed(self, slot: Slot) -> LoadedModel | None:
        """The model that the slot's folder holds, or None where it is the loaded one."""
        # At no lower priority: a loader that waits for a core with the interpreter's lock in hand holds up everybody.
        folder = slot.target.folder
        if read_manifest(folder).version == slot.current.version:
            return None
        return self._load(slot.name, folder)

    def _say_why(self, error: Exception, fields: dict[str, object]) -> None:
        expected = isinstance(error, ArtifactError | EngineError | OSError)
        log.error(
            "model not swapped, the loaded one goes on: %s",
            error if expected else type(error).__name__,
            exc_info=None if expected else error,
            extra={"fields": fields, "of_no_request": True},
        )

    def _count(self, slot: Slot, outcome: str) -> None:
        self._metrics.swaps.labels(slot.name, outcome).inc()
        self._metrics.last_swap.labels(slot.name, outcome).set(time.time())

    async def _in_thread(self, function: Callable[..., T], *arguments: Slot) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)


def _look(slot: Slot) -> tuple[Target, bool]:
    """Where the slot's folder leads, and whether there is a folder."""
    target = follow(slot.folder)
    return target, os.path.isdir(target.folder)  # noqa: PTH112 (is_dir raises where a folder may not be read)

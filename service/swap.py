"""Replaces a model by what its folder holds by then, while requests go on.

Load and verify in a thread, then switch one reference on the event loop: a request that took the old model finishes on
it, every later one takes the other. What does not load, or misses its golden pairs, changes nothing but a metric and
the log. One swap at a time, the drain of the old model included: a name has two models in memory at most.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from artifact import ArtifactError
from artifact.loading import read_manifest

from .metrics import Metrics
from .onnx_engine import EngineError
from .registry import LoadedModel, Registry, Slot, Target, follow

log = logging.getLogger(__name__)

T = TypeVar("T")

SWAPPED, UNCHANGED, FAILED = "swapped", "unchanged", "failed"


class Swapper:
    """Swaps the models of a registry. Belongs to the event loop.

    Args:
        registry: whose slots it changes.
        load: makes and verifies the model of a name from a folder; runs in the executor.
        executor: where files are read; one thread, so that looking waits for loading.
        metrics: told of every outcome.
        clock: monotonic, in seconds.
        on_swapped: called when an old model has been let go.
    """

    def __init__(
        self,
        registry: Registry,
        load: Callable[[str, Path], LoadedModel],
        executor: Executor,
        metrics: Metrics,
        clock: Callable[[], float],
        on_swapped: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._load = load
        self._executor = executor
        self._metrics = metrics
        self._clock = clock
        self._on_swapped = on_swapped
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
                    await self._swap(slot)

    async def watch(self, poll_s: float, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Looks every `poll_s` seconds, until it is cancelled."""
        while True:
            await sleep(poll_s)
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
            expected = isinstance(error, ArtifactError | EngineError | OSError)
            reason = str(error) if expected else type(error).__name__
            log.error(
                "model not swapped, the loaded one goes on: %s",
                reason,
                exc_info=None if expected else error,
                extra={"fields": fields},
            )
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
        await slot.old.unused.wait()
        slot.old = None
        self._on_swapped()
        log.info("old model released", extra={"fields": {**fields, "drain_s": round(self._clock() - switched, 3)}})

    def _load_changed(self, slot: Slot) -> LoadedModel | None:
        """The model that the slot's folder holds, or None where it is the loaded one."""
        folder = slot.target.folder
        if read_manifest(folder).version == slot.current.version:
            return None
        return self._load(slot.name, folder)

    def _count(self, slot: Slot, outcome: str) -> None:
        self._metrics.swaps.labels(slot.name, outcome).inc()
        self._metrics.last_swap.labels(slot.name, outcome).set(time.time())

    async def _in_thread(self, function: Callable[[Slot], T], slot: Slot) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, slot)


def _look(slot: Slot) -> tuple[Target, bool]:
    """Where the slot's folder leads, and whether there is a folder."""
    target = follow(slot.folder)
    return target, os.path.isdir(target.folder)  # noqa: PTH112 (is_dir raises where a folder may not be read)

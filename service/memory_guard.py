"""Notices that memory runs out before the kernel does, which would end the process in the middle of its requests."""

import asyncio
import gc
import logging
from collections.abc import Callable

from .machine import resident_bytes

log = logging.getLogger(__name__)

SHARE = 0.95
"""Of the limit: beyond it, memory counts as running out."""

CHECK_EVERY_S = 1.0


class MemoryGuard:
    """Compares the process's memory with its limit. Over the share it relieves, and if that is not enough, gives up.

    Args:
        limit_bytes: what the process may take.
        relieve: frees what can be done without, such as caches.
        give_up: begins a clean end: not ready, requests in work finished, then exit.
        resident: bytes that the process takes.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        relieve: Callable[[], None],
        give_up: Callable[[], None],
        resident: Callable[[], int] = resident_bytes,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._relieve = relieve
        self._give_up = give_up
        self._resident = resident
        self._gave_up = False

    def check(self) -> None:
        """Looks once, and does what has to be done."""
        if self._gave_up or not self._over():
            return
        before = self._resident()
        self._relieve()
        gc.collect()
        fields = {"limit_bytes": self._limit_bytes, "resident_bytes": self._resident()}
        if not self._over():
            log.warning("memory was running out; caches were emptied", extra={"fields": {**fields, "before": before}})
            return
        self._gave_up = True
        log.error("memory is running out: stopping before the kernel does", extra={"fields": fields})
        self._give_up()

    async def watch(self) -> None:
        """Checks every second, until it is cancelled."""
        while True:
            try:
                self.check()
            except OSError:
                log.exception("cannot read how much memory the process takes")
            await asyncio.sleep(CHECK_EVERY_S)

    def _over(self) -> bool:
        return self._resident() > SHARE * self._limit_bytes

"""Runs the app under uvicorn: our socket, our signals, our drain."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial

import uvicorn

from .app import App, create_app
from .connections import Connections, make_room_for_files
from .keys import Keys
from .logs import UnhurriedHandler
from .machine import memory_limit_bytes
from .memory import settle_memory
from .memory_guard import MemoryGuard
from .metrics import Metrics
from .protocol import Protocol
from .runtime import Runtime
from .settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 2048

SWITCH_INTERVAL_S = 0.0005
"""How long the event loop waits for a lane that runs Python. The interpreter's default is ten times as long."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family, backlog=BACKLOG)


def serve(settings: Settings, listener: socket.socket, logs: UnhurriedHandler) -> int:
    """Serves until a signal, or until the model turns out to be unusable. Returns the process's exit code."""
    server: Server | None = None
    failed = False

    def on_failure() -> None:
        nonlocal failed
        failed = True
        assert server is not None
        server.should_exit = True

    make_room_for_files(settings.max_connections)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    app = create_app(settings, on_failure=on_failure, on_loaded=settle_memory)
    metrics: Metrics = app.state.runtime.metrics
    metrics.watch("dropped_log_lines", "Lines that stderr did not take at once.", lambda: logs.dropped)
    server = Server(app, settings)
    host, port = listener.getsockname()[:2]
    log.info("listening", extra={"fields": {"host": host, "port": port, "pid": os.getpid()}})
    server.run(sockets=[listener])
    if not failed:
        log.info("stopped")
    return 1 if failed or server.ran_out_of_memory else 0


class Server(uvicorn.Server):
    """uvicorn's server, which on SIGTERM or SIGINT first drains with the socket still open, and on SIGHUP swaps models.

    While it drains, probes see that it is not ready, and new scoring requests get 503. A second signal ends the drain.
    """

    def __init__(self, app: App, settings: Settings) -> None:
        runtime: Runtime = app.state.runtime
        connections = Connections(settings, runtime.metrics)
        config = uvicorn.Config(
            app,
            http=partial(Protocol, connections=connections, clock=runtime.clock, door=app.door),  # type: ignore[arg-type]
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            # No request outlives its deadline, so what the drain left behind is gone by then.
            timeout_graceful_shutdown=settings.max_timeout_ms // 1000 + 1,
        )
        super().__init__(config)
        self._runtime = runtime
        self._keys: Keys = app.state.keys
        self._settings = settings
        self._drain: asyncio.Task[None] | None = None
        self._guard: asyncio.Task[None] | None = None
        self.ran_out_of_memory = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and to watch the memory where something limits it."""
        await super().startup(sockets)
        limit_bytes = self._settings.max_memory_bytes or memory_limit_bytes()
        if limit_bytes is not None:
            guard = MemoryGuard(limit_bytes, relieve=self._runtime.forget, give_up=self._give_up)
            self._guard = asyncio.get_running_loop().create_task(guard.watch())

    def _give_up(self) -> None:
        self.ran_out_of_memory = True
        if self._drain is None:
            self.stop()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Replaces uvicorn's handlers, which close the socket at once and end the process by the signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT)
        for each in handled:
            loop.add_signal_handler(each, self.stop)
        # Not by the loop, which on removal leaves the default for a moment: it would end the process in its clean end.
        before = signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._reload))
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)
            for each in handled:
                loop.remove_signal_handler(each)

    def _reload(self) -> None:
        self._keys.reload()
        self._runtime.reload()

    def stop(self) -> None:
        """Begins the drain; called again, ends it."""
        if self._drain is not None:
            self.should_exit = True
            return
        self._runtime.drain()
        self._drain = asyncio.get_running_loop().create_task(self._drain_then_exit())

    async def _drain_then_exit(self) -> None:
        settings, runtime = self._settings, self._runtime
        await asyncio.sleep(settings.drain_delay_ms / 1000)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_timeout_ms / 1000):
                await runtime.idle.wait()
        self.should_exit = True

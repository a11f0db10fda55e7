"""Runs the app under uvicorn: our socket, our signals, our drain."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from .app import create_app
from .memory import settle_memory
from .protocol import Protocol
from .runtime import Runtime
from .settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address is in use, or not one of this machine.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family, backlog=BACKLOG)


def serve(settings: Settings, listener: socket.socket) -> int:
    """Serves until a signal, or until the model turns out to be unusable. Returns the process's exit code."""
    server: Server | None = None
    failed = False

    def on_failure() -> None:
        nonlocal failed
        failed = True
        assert server is not None
        server.should_exit = True

    app = create_app(settings, on_failure=on_failure, on_loaded=settle_memory)
    server = Server(app, settings)
    host, port = listener.getsockname()[:2]
    log.info("listening", extra={"fields": {"host": host, "port": port, "pid": os.getpid()}})
    server.run(sockets=[listener])
    if not failed:
        log.info("stopped")
    return 1 if failed else 0


class Server(uvicorn.Server):
    """uvicorn's server, which on SIGTERM or SIGINT first drains with the socket still open, and on SIGHUP swaps models.

    While it drains, probes see that it is not ready, and new scoring requests get 503. A second signal ends the drain.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            http=Protocol,
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            # No request outlives its deadline, so what the drain left behind is gone by then.
            timeout_graceful_shutdown=settings.max_timeout_ms // 1000 + 1,
        )
        super().__init__(config)
        self._runtime: Runtime = app.state.runtime
        self._settings = settings
        self._drain: asyncio.Task[None] | None = None

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
        before = signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(self._runtime.reload))
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)
            for each in handled:
                loop.remove_signal_handler(each)

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

"""Runs a module as `python -m` does, in a process whose uvicorn leaks on purpose: `leaking.py BYTES -m MODULE ARGS...`

The control of `soak`: a run against a server that keeps BYTES of every request must find that it does.
"""

import runpy
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

App = Callable[..., Awaitable[None]]


class LeakyApp:
    """An ASGI application that remembers something of every request for ever."""

    def __init__(self, app: App, leak_bytes: int) -> None:
        self._app = app
        self._leak_bytes = leak_bytes
        self._kept: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self._kept.append(b"x" * self._leak_bytes)
        await self._app(scope, receive, send)


def leak(leak_bytes: int) -> None:
    """From here on every application that uvicorn is given leaks."""
    configure = uvicorn.Config.__init__

    def configure_leaky(self: uvicorn.Config, app: App, *args: Any, **kwargs: Any) -> None:
        configure(self, LeakyApp(app, leak_bytes), *args, **kwargs)

    uvicorn.Config.__init__ = configure_leaky  # type: ignore[method-assign, assignment]


def main(argv: list[str]) -> None:
    """Does it."""
    leak_bytes, flag, module, *arguments = argv
    if flag != "-m":
        raise SystemExit("expected BYTES -m MODULE")
    leak(int(leak_bytes))
    sys.path[0] = ""
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m service.observing_cost`: what logs, traces and the audit log cost the event loop for a request.

Requests whose scores are all known go through the whole application but its sockets, in one process and thread; that
thread's own processor time counts, so that neither lanes nor other processes do. The ways to observe take turns.
"""

import argparse
import asyncio
import logging
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic_core import to_json
from starlette.types import Message, Scope

from .settings import Settings, prepare_libraries

TRACEPARENT = (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-%s")
UNSAMPLED, SAMPLED = b"00", b"01"
OFF = "all off"

Way = tuple[Mapping[str, Any], bytes | None]
"""Settings, and the flags of the `traceparent` that requests bring, None for none."""


def ways(endpoint: str, audit_dir: Path) -> dict[str, Way]:
    """What is compared, the first with everything off."""
    tracing = {"trace_endpoint": endpoint}
    auditing = {"audit_dir": audit_dir}
    return {
        OFF: ({}, None),
        "log lines for 10 %": ({"log_rate": 0.1}, None),
        "log lines for all": ({"log_rate": 1.0}, None),
        "tracing off, traceparent sent": ({}, UNSAMPLED),
        "tracing on, 1 % of requests": (tracing | {"trace_rate": 0.01}, None),
        "tracing on, every request": (tracing, SAMPLED),
        "audit of 1 %": (auditing | {"audit_rate": 0.01}, None),
        "audit of every request": (auditing | {"audit_rate": 1.0}, None),
        "the defaults with all on": (tracing | auditing | {"log_rate": 0.1}, None),
    }


async def measure(model_dir: Path, products: int, requests: int, rounds: int) -> dict[str, list[float]]:
    """Microseconds of the event loop's processor time for each request, by way, one figure a round."""
    from .app import App, create_app
    from .metrics import Metrics
    from .model import Model, load_model

    found: dict[str, list[float]] = {}
    base: dict[str, Any] = {
        "model_dir": model_dir,
        "lanes": 1,
        "log_rate": 0.0,
        "score_cache_bytes": 16 << 20,
        "model_poll_ms": 0,
    }
    model = load_model(Settings(**base), Metrics())

    def loaded(_: Settings, __: Metrics) -> Model:
        return model

    body = _body(products)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        endpoint = stack.enter_context(_collector())
        apps: dict[str, tuple[App, bytes | None]] = {}
        for name, (settings, flags) in ways(endpoint, folder).items():
            app = create_app(Settings(**{**base, **settings}), load=loaded)
            await stack.enter_async_context(app.router.lifespan_context(app))
            while app.state.runtime.unavailable() is not None:  # noqa: ASYNC110 - nothing tells, and it is once
                await asyncio.sleep(0.01)
            await _send(app, body, flags, 2)
            apps[name] = app, flags
        for _ in range(rounds):
            for name, (app, flags) in apps.items():
                started = time.thread_time()
                await _send(app, body, flags, requests)
                found.setdefault(name, []).append((time.thread_time() - started) / requests * 1e6)
    return found


def table(found: Mapping[str, Sequence[float]]) -> str:
    """Markdown: medians over rounds, and the middle half of them in brackets; what each way costs beyond the first."""
    lines = ["| | µs of the event loop a request | more than with all off |", "|---|---|---|"]
    for name, times in found.items():
        more = [time_us - off_us for time_us, off_us in zip(times, found[OFF], strict=True)]
        beyond = "" if name == OFF else _spread(more)
        lines.append(f"| {name} | {_spread(times)} | {beyond} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


async def _send(app: Any, body: bytes, flags: bytes | None, requests: int) -> None:
    headers = [(b"content-type", b"application/json"), (b"host", b"shelfscore"), (b"user-agent", b"ranker")]
    if flags is not None:
        headers.append((TRACEPARENT[0], TRACEPARENT[1] % flags))
    statuses = set()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])

    for _ in range(requests):
        # A task each, as a server makes one: it begins with a context of its own.
        await asyncio.create_task(app(_scope(headers), _Body(body), send))
    assert statuses == {200}, statuses


def _scope(headers: Sequence[tuple[bytes, bytes]]) -> Scope:
    from .context import ARRIVAL_KEY, WHOLE_BODY_KEY

    arrived = {ARRIVAL_KEY: time.monotonic(), WHOLE_BODY_KEY: lambda: True}
    return {"type": "http", "method": "POST", "path": "/score", "headers": headers, **arrived}


class _Body:
    """What a caller sends: its body, and then nothing more."""

    def __init__(self, body: bytes) -> None:
        self._left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def __call__(self) -> Message:
        if not self._left:
            await asyncio.Event().wait()
        return self._left.pop()


def _body(products: int) -> bytes:
    listed = [{"title": f"wireless usb charger number {i} for laptops", "brand": "acme"} for i in range(products)]
    return to_json({"query": "usb charger", "products": listed, "timeout_ms": 1000})


@contextmanager
def _collector() -> Iterator[str]:
    """A collector of spans that takes them and forgets them; gives its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces"
    finally:
        server.shutdown()
        server.server_close()


class _Sink(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def main(arguments: Sequence[str]) -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m service.observing_cost", description=__doc__)
    parser.add_argument("--model-dir", type=Path, default=Path("models/default"))
    parser.add_argument("--products", type=int, default=64)
    parser.add_argument("--requests", type=int, default=40, help="of each way in each round")
    parser.add_argument("--rounds", type=int, default=61, help="at least two")
    options = parser.parse_args(arguments)
    prepare_libraries()
    from .logs import JsonFormatter, UnhurriedHandler

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    with Path(os.devnull).open("wb", buffering=0) as null:
        handler = UnhurriedHandler(null.fileno())
        handler.setFormatter(JsonFormatter())
        root.handlers[:] = [handler]
        root.setLevel(logging.INFO)
        try:
            found = asyncio.run(measure(options.model_dir, options.products, options.requests, options.rounds))
        finally:
            root.handlers[:] = before
            root.setLevel(level)
    print(table(found))  # noqa: T201 - the table is what was asked for
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Real servers for tests, and engines whose every step a test controls."""

import asyncio
import concurrent.futures
import contextlib
import inspect
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from artifact import Product
from artifact.loading import read_manifest
from service.app import create_app
from service.engine import Fresh, Kept, Outlook
from service.metrics import Metrics
from service.model import Model, load_model
from service.runtime import Loader, Runtime
from service.server import Server, bind
from service.settings import Settings

PORTS = range(18100, 18200)


class FakeEngine:
    """Scores a product by the number in its title; `nan` and `inf` are numbers too. Raises for the title `broken`."""

    def prepare_query(self, query: str) -> str:
        return query

    def prepare_products(self, products: Sequence[Product]) -> list[str]:
        return [product["title"] or "" for product in products]

    one_query_per_run = False

    def outlook(self, query: str, products: Sequence[Product]) -> Outlook:  # noqa: ARG002
        return Outlook(8.0)

    def recall_products(self, products: Sequence[Product]) -> Sequence[str]:
        return self.prepare_products(products)

    def encode_products(self, products: Sequence[Fresh]) -> Sequence[str]:
        raise AssertionError(f"nothing is left to encode: {products}")

    def kept(self) -> Kept:
        return Kept(0, 0)

    def forget(self) -> None: ...

    def pair_tokens(self, query: str, product: str) -> int:  # noqa: ARG002
        return 8

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        if any(title == "broken" for _, title in pairs):
            raise RuntimeError("a secret detail of the engine")
        return np.array([float(title) for _, title in pairs], dtype=np.float32)


class GatedEngine(FakeEngine):
    """Waits in the pair stage until a test opens the gate, or lets single micro-batches through."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.scored: list[str] = []
        self.runs: list[int] = []

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        self.entered.release()
        assert self.gate.acquire(timeout=60)
        self.scored += [title for _, title in pairs]
        self.runs.append(len(pairs))
        return super().score_pairs(pairs)

    def open(self, micro_batches: int = 10_000) -> None:
        self.gate.release(micro_batches)

    def close(self) -> None:
        """Again, once nothing is in work."""
        for each in (self.gate, self.entered):
            while each.acquire(blocking=False):
                pass

    def wait_until_entered(self) -> None:
        assert self.entered.acquire(timeout=60)


def loader_of(engine: FakeEngine) -> Loader:
    """Loads the settings' manifest, and puts `engine` behind it."""

    def load(settings: Settings, metrics: Metrics) -> Model:
        manifest = read_manifest(settings.model_dir)
        return Model(manifest, manifest.variants[0], engine)

    return load


def point(link: Path, target: Path) -> None:
    """Has a symbolic link lead to `target`, in one step."""
    aside = link.with_name(f"{link.name}.aside")
    aside.symlink_to(target)
    aside.replace(link)


class Running:
    """A server in a thread of this process, and a client that talks to it over a socket."""

    def __init__(self, runtime: Runtime, port: int) -> None:
        self.runtime = runtime
        self.port = port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def score(self, *titles: str, **fields: object) -> httpx.Response:
        body = {"query": "usb charger", "products": [{"title": title} for title in titles], **fields}
        return self.client.post("/score", json=body)

    @contextlib.contextmanager
    def sending(
        self, path: str, method: str = "POST", **request: Any
    ) -> Iterator[concurrent.futures.Future[httpx.Response]]:
        """Sends from a thread of its own, for requests that a test holds up."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            yield pool.submit(self.client.request, method, path, **request)

    def raw(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def call(self, function: Callable[[], object]) -> None:
        """Calls on the server's event loop, as a signal handler is called; a coroutine is awaited there."""

        async def run() -> None:
            result = function()
            if inspect.isawaitable(result):
                await result

        loading = self.runtime._loading
        assert loading is not None
        asyncio.run_coroutine_threadsafe(run(), loading.get_loop()).result(60)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            threading.Event().wait(0.005)

    def metric(self, name: str, /, **labels: str) -> float:
        return self.runtime.metrics.registry.get_sample_value(f"shelfscore_{name}", labels) or 0.0

    def wait_for(self, *, ready: bool) -> None:
        wanted = 200 if ready else 503
        while self.client.get("/health/ready").status_code != wanted:
            threading.Event().wait(0.005)


@contextlib.contextmanager
def running(model_dir: Path, *, load: Loader = load_model, ready: bool = True, **settings: object) -> Iterator[Running]:
    """Serves until the block ends. With `ready`, waits until it scores."""
    made = Settings(model_dir=model_dir, **{"lanes": 2, "max_timeout_ms": 60_000, "log_rate": 1.0, **settings})
    listener, port = bind_free()
    app = create_app(made, load=load)
    server = Server(app, made)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
    thread.start()
    service = Running(app.state.runtime, port)
    try:
        service.wait_for(ready=ready)
        yield service
    finally:
        service.client.close()
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def bind_free():
    """A listening socket on a free port of the tests' range, and the port."""
    for offset in range(len(PORTS)):
        port = PORTS[(os.getpid() + offset) % len(PORTS)]
        with contextlib.suppress(OSError):
            return bind("127.0.0.1", port), port
    raise RuntimeError(f"no free port in {PORTS}")

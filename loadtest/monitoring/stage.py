"""Services that a Prometheus scrapes, each at a port of its own through all its restarts, and callers that ask them."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..client import Endpoint
from ..errors import LoadtestError, ServerError
from ..generator.process import Generator
from ..generator.wire import WireRequest
from ..promises.workload import arrivals_of, open_plan
from ..servers import Server, free_port
from ..target import start_service
from .prometheus import Prometheus, Scraped

_READY = "/health/ready"
_READY_S = 60.0
_POLL_S = 0.2
_LONGEST_S = 1200.0

Requests = Callable[[Endpoint], Sequence[WireRequest]]


@dataclass(slots=True)
class Place:
    """Where a replica lives: its port, its labels, and the process that serves there at present."""

    port: int
    labels: Mapping[str, str]
    server: Server | None = None
    starts: int = 0


@dataclass(slots=True)
class Stage:
    """The replicas of one namespace.

    Attributes:
        watch: scrapes them.
        namespace: that all their series carry.
        artifact: what they serve.
        folder: for logs and links.
    """

    watch: Prometheus
    namespace: str
    artifact: Path
    folder: Path
    environment: Mapping[str, str]
    places: dict[str, Place] = field(default_factory=dict)

    def serve(
        self, *settings: str, name: str = "a", artifact: Path | None = None, ready: bool = True, **labels: str
    ) -> Server:
        """Starts a replica, in the place of the one that had the name before. `ready` False: does not wait for it.

        Raises:
            LoadtestError: it does not start.
        """
        place = self.places.get(name) or self.places.setdefault(name, Place(free_port(), labels))
        self.stop(name)
        place.starts += 1
        log = self.folder / f"{self.namespace}-{name}-{place.starts}.log"
        folder = artifact or self.artifact
        # As it is named: a link stays a link.
        place.server = start_service(folder, settings, self.environment, log, resolve=False, port=place.port)
        self._tell()
        if ready:
            try:
                place.server.wait_ready(_READY, _READY_S)
            except ServerError as error:
                raise ServerError("\n".join([str(error), *place.server.last_lines(5)])) from None
        return place.server

    def stop(self, name: str = "a") -> None:
        """Ends a replica; Prometheus goes on asking for it."""
        place = self.places[name]
        if place.server is not None:
            place.server.stop()
            place.server = None

    def kill(self, name: str = "a") -> None:
        """Ends a replica as the kernel does where memory runs out."""
        server = self.places[name].server
        assert server is not None
        os.kill(server.pid, signal.SIGKILL)
        server.exit_code(10.0)

    def withdraw(self, name: str) -> None:
        """Ends a replica, and Prometheus hears no more of it."""
        self.stop(name)
        del self.places[name]
        self._tell()

    def close(self) -> None:
        """Ends all of them, and has none scraped."""
        for name in list(self.places):
            self.stop(name)
        self.places.clear()
        self._tell()

    @contextmanager
    def callers(self, requests: Requests, rate: float, name: str = "a", seed: int = 1) -> Iterator[Generator]:
        """So many requests a second to a replica until the block ends, whatever becomes of it."""
        endpoint = Endpoint.parse(f"http://127.0.0.1:{self.places[name].port}")
        made = requests(endpoint)
        plan = open_plan(endpoint, made, arrivals_of(rate, _LONGEST_S, len(made), seed))
        with Generator(plan) as generator:
            generator.wait_started()
            yield generator
            generator.stop()

    def wait_until(self, what: str, condition: Callable[[], bool], patience_s: float) -> float:
        """Returns the seconds that it took.

        Raises:
            LoadtestError: it did not come.
        """
        started_s = time.monotonic()
        while not condition():
            if time.monotonic() - started_s > patience_s:
                raise LoadtestError(f"not within {patience_s:g} s: {what}")
            time.sleep(_POLL_S)
        return time.monotonic() - started_s

    def firing(self, alert: str, **labels: str) -> bool:
        """Whether an alert of this namespace fires."""
        return self.watch.firing(alert, {"namespace": self.namespace, **labels})

    def _tell(self) -> None:
        labels = {"namespace": self.namespace}
        self.watch.scrape([Scraped(place.port, labels | dict(place.labels)) for place in self.places.values()])

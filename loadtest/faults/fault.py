"""A fault: what it is called, what must happen, what the service is started with, and the function that does it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..servers import Server
from ..target import start_service
from .scene import Scene

Run = Callable[[Scene], str]
"""Does it, and says in words what was seen. Raises NotAsExpected, or OSError where nobody answers."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One.

    Attributes:
        name: unique.
        family: heading of the table.
        expectation: in words.
        run: see Run.
        settings: what the service is started with, NAME=VALUE. Faults of equal settings share a service.
        alone: whether it gets a service of its own.
        ends: whether the process has to be gone afterwards; else it has to live, be ready, and score as before.
        begins: whether it acts on a service that has just been started, and is not ready.
        start: starts the service where settings do not say it all.
    """

    name: str
    family: str
    expectation: str
    run: Run
    settings: tuple[str, ...] = ()
    alone: bool = False
    ends: bool = False
    begins: bool = False
    start: Callable[["Starter"], Server] | None = None


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts services.

    Attributes:
        artifact: their model.
        environment: theirs, settings aside.
        folder: for logs and whatever else a fault needs.
        stack: of what has to be closed when the fault is over.
        settings: the fault's.
        faketime: the library that fakes the wall clock, where there is one.
    """

    artifact: Path
    environment: Mapping[str, str]
    folder: Path
    stack: ExitStack
    settings: Sequence[str] = ()
    faketime: Path | None = None

    def start(
        self, *, log: Path | None = None, variables: Mapping[str, str] | None = None, launcher: Sequence[str] = ()
    ) -> Server:
        """Starts one; it is not ready yet."""
        return start_service(
            self.artifact,
            self.settings,
            {**self.environment, **(variables or {})},
            log or self.folder / "service.log",
            launcher=launcher,
        )


QUICK = ("HEAD_TIMEOUT_MS=1000", "WRITE_TIMEOUT_MS=1000", "MAX_TIMEOUT_MS=5000", "LANES=2")
"""So that what has to time out does so while somebody looks; deadlines of the golden request are long."""

PACED = (*QUICK[:2], "MAX_TIMEOUT_MS=5000", "LANES=1", "PLANTED_FAULTS=pace:100")
"""The same on one lane, on which no micro-batch takes less than 100 ms on any machine: work can be met in work."""

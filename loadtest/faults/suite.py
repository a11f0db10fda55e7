"""Runs faults one after another, each on a service that is sound, and looks at the service after each."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import LoadtestError
from ..servers import Server
from . import bombs, deadlines, disconnects, framing, models, signals, slowness, surroundings
from .fault import Fault, Starter
from .liveness import check_alive, check_ended, learn_scores
from .scene import NotAsExpected, Scene

FAULTS: tuple[Fault, ...] = (
    *disconnects.FAULTS,
    *deadlines.FAULTS,
    *slowness.FAULTS,
    *framing.FAULTS,
    *bombs.FAULTS,
    *signals.FAULTS,
    *models.FAULTS,
    *surroundings.FAULTS,
)
_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a fault did."""

    fault: Fault
    seen: str
    afterwards: str
    held: bool
    seconds: float


def run_faults(
    faults: Sequence[Fault], artifact: Path, environment: Mapping[str, str], faketime: Path | None = None
) -> Iterator[Seen]:
    """One after another; faults that share a service have to stand together. Ends what it started.

    Raises:
        LoadtestError: a service cannot be started.
    """
    with ExitStack() as stack:
        shared: tuple[Sequence[str], Scene] | None = None
        for fault in faults:
            if fault.alone:
                with ExitStack() as own:
                    yield judge(fault, _started(fault, artifact, environment, own, faketime))
                continue
            if shared is None or shared[0] != fault.settings:
                stack.close()
                shared = fault.settings, _started(fault, artifact, environment, stack, faketime)
            seen = judge(fault, shared[1])
            yield seen
            if not seen.held:
                # What it left behind must not be taken for the next one's doing.
                shared = None


def judge(fault: Fault, scene: Scene, check: Callable[[Scene], str] | None = None) -> Seen:
    """Has one done to a service, and looks at the service."""
    started_s = time.monotonic()
    held = True
    try:
        seen = fault.run(scene)
    except (LoadtestError, OSError, HTTPException, ValueError, KeyError) as error:
        seen, held = _words(error), False
    try:
        if not scene.scores and not fault.ends:
            learn_scores(scene)
        afterwards = (check or (check_ended if fault.ends else check_alive))(scene)
    except (LoadtestError, OSError, HTTPException, ValueError, KeyError) as error:
        afterwards, held = _words(error), False
    return Seen(fault, seen, afterwards, held, time.monotonic() - started_s)


def ready(scene: Scene) -> None:
    """Waits until it is, and learns the right scores.

    Raises:
        LoadtestError: it is not.
    """
    scene.process.wait_ready("/health/ready", _READY_S)
    learn_scores(scene)


def _started(
    fault: Fault, artifact: Path, environment: Mapping[str, str], stack: ExitStack, faketime: Path | None
) -> Scene:
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="loadtest-")))
    starter = Starter(artifact, environment, folder, stack, fault.settings, faketime)
    server: Server = (fault.start or Starter.start)(starter)
    stack.callback(server.stop)
    scene = Scene(server.port, server)
    if not fault.begins:
        ready(scene)
    return scene


def _words(error: Exception) -> str:
    if isinstance(error, NotAsExpected):
        return str(error)
    return f"{type(error).__name__}: {error}".removeprefix("ServerError: ")


def chosen(names: Sequence[str]) -> list[Fault]:
    """All without names; else those whose name or family holds one of them.

    Raises:
        LoadtestError: a name that none has.
    """
    for name in names:
        if not any(name.lower() in f"{fault.name}\n{fault.family}".lower() for fault in FAULTS):
            known = ", ".join(dict.fromkeys(fault.family for fault in FAULTS))
            raise LoadtestError(f"--only {name}: no fault is called so; families: {known}")
    return [
        fault
        for fault in FAULTS
        if not names or any(name.lower() in f"{fault.name}\n{fault.family}".lower() for name in names)
    ]

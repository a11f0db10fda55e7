"""The server under test: started here on an artifact, or one that runs already."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .benchmarks.contestants import GENEROUS, shelfscore
from .client import Endpoint, check_ready
from .errors import LoadtestError, ServerError
from .metering import ServerProcess
from .servers import Server, free_port

_READY = "/health/ready"
_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is, and as far as it is known, its process."""

    url: str
    pid: int | None
    server: Server | None

    @property
    def endpoint(self) -> Endpoint:
        """Of the url."""
        return Endpoint.parse(self.url)

    def rss_bytes(self) -> int | None:
        """Resident memory of the process and its children; None where the process is not known or gone."""
        return ServerProcess(self.pid).rss_bytes()

    def descriptors(self) -> int | None:
        """Open file descriptors of the process and its children; None where they cannot be counted."""
        return ServerProcess(self.pid).descriptors()

    def threads(self) -> int | None:
        """Of the process and its children; None where they cannot be counted."""
        return ServerProcess(self.pid).threads()

    def cpu_s(self) -> float:
        """User and system time of the process and its children; 0 where it is not known."""
        return ServerProcess(self.pid).cpu_s()


def add_target_options(parser: argparse.ArgumentParser) -> None:
    """Which server, and the report's file."""
    who = parser.add_argument_group("the server")
    who.add_argument("--artifact", type=Path, metavar="FOLDER", help="start our service on it (default models/default)")
    who.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the service that is started, such as LANES=2; may be repeated",
    )
    who.add_argument("--host", metavar="URL", help="a server that runs already, instead")
    who.add_argument("--pid", type=int, help="its process, to read its memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, raw samples included")


@contextmanager
def target_of(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    say: Callable[[str], object],
    *,
    launcher: Sequence[str] = (),
) -> Iterator[Target]:
    """Starts the server, or finds the running one; ends what it started. `launcher`: stands before `-m service`.

    Raises:
        LoadtestError: it cannot be had.
    """
    if parsed.json is not None and not parsed.json.absolute().parent.is_dir():
        raise LoadtestError(f"{parsed.json}: cannot be written: no such folder")
    if parsed.host:
        if parsed.artifact:
            raise LoadtestError("expected --host or --artifact, found both")
        check_ready(parsed.host)
        yield Target(parsed.host.rstrip("/"), parsed.pid, None)
        return
    folder = parsed.artifact or Path("models/default")
    with started(folder, parsed.setting, environment, say, launcher=launcher) as target:
        yield target


@contextmanager
def started(
    folder: Path,
    settings: Sequence[str],
    environment: Mapping[str, str],
    say: Callable[[str], object],
    *,
    launcher: Sequence[str] = (),
) -> Iterator[Target]:
    """Our service on an artifact, ready; ended with the block. `launcher`: stands before `-m service`.

    Raises:
        LoadtestError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="loadtest-") as logs:
        server = start_service(folder, settings, environment, Path(logs) / "service.log", launcher=launcher)
        try:
            ready_s = server.wait_ready(_READY, _READY_S)
            say(f"the service is ready on {server.url} after {ready_s:.1f} s")
            yield Target(server.url, server.pid, server)
        except ServerError as error:
            raise ServerError("\n".join([str(error), *server.last_lines(5)])) from None
        finally:
            server.stop()


def start_service(
    folder: Path,
    settings: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    launcher: Sequence[str] = (),
    resolve: bool = True,
    port: int | None = None,
) -> Server:
    """Starts the service with its own defaults, quiet, on a free port unless one is given.

    `resolve` False: on the folder as it is named, such as a link.

    Raises:
        LoadtestError: no artifact, or a malformed setting.
    """
    contestant = shelfscore("service", folder, environment)
    port = port or free_port()
    variables = contestant.environment_at(port)
    for limit in GENEROUS:
        variables.pop(limit, None)
    variables["SHELFSCORE_LOG_LEVEL"] = "warning"
    if not resolve:
        variables["SHELFSCORE_MODEL_DIR"] = str(folder.absolute())
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise LoadtestError(f"--setting: expected NAME=VALUE, found {setting!r}")
        variables[f"SHELFSCORE_{name.upper()}"] = value
    argv = [sys.executable, *launcher, "-m", "service"]
    return Server.start(argv, port, variables, log)

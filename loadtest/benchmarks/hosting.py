"""Servers for the length of a measurement: started, awaited, one connection each, and stopped whatever happens."""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from ..client import Connection, Endpoint
from ..errors import ServerError
from ..servers import Server, free_port
from .closed_loop import Asked, ask_all
from .contestants import Contestant
from .lean import LeanConnection
from .observed import Counters, read_counters
from .protocols import ProductText


@dataclass(frozen=True, slots=True)
class Hosted:
    """A server that runs and is ready."""

    name: str
    server: Server
    connection: Connection

    def ask(self, path: str, bodies: Sequence[bytes]) -> Asked:
        """Sends the bodies one after another.

        Raises:
            ServerError: an answer that is not 200, or none: with the server's last words.
        """
        try:
            return ask_all([self.connection], path, bodies)
        except (ServerError, OSError, HTTPException) as error:
            code = self.server.exit_code(wait_s=0.5)
            died = f"died with exit code {code}: " if code is not None else ""
            raise ServerError(f"{self.name} {died}{error or type(error).__name__}{_last_words(self.server)}") from None

    def cpu_s(self) -> float:
        """User and system time since it started, its children's too.

        Raises:
            ServerError: it is gone: with its last words.
        """
        # A process that has just ended can still be read.
        if (code := self.server.exit_code()) is not None:
            raise ServerError(f"{self.name} died with exit code {code}{_last_words(self.server)}")
        return self.server.usage().cpu_s

    def counters(self) -> Counters:
        """What it counts."""
        return read_counters(self.connection)


@contextmanager
def hosted(
    contestants: Sequence[Contestant],
    *,
    ready_path: str | None = None,
    ready_timeout_s: float,
    request_timeout_s: float,
    ports: tuple[int, int] | None,
    log_dir: Path,
) -> Iterator[list[Hosted]]:
    """All of them, ready: by `ready_path`, or each by its own protocol's.

    Raises:
        ServerError: one could not be started: with its last words.
    """
    with ExitStack() as stack:
        running = []
        for number, contestant in enumerate(contestants):
            port = free_port(*ports) if ports else free_port()
            log = log_dir / f"{number}.log"
            server = Server.start(contestant.argv_at(port), port, contestant.environment_at(port), log)
            stack.callback(server.stop)
            connection = LeanConnection(Endpoint.parse(server.url), request_timeout_s)
            stack.callback(connection.close)
            try:
                server.wait_ready(ready_path or contestant.speaks(ProductText()).ready_path, ready_timeout_s)
            except ServerError as error:
                raise ServerError(f"{contestant.name} {error}{_last_words(server)}") from None
            running.append(Hosted(contestant.name, server, connection))
        yield running


@contextmanager
def hosted_as_asked(
    parsed: argparse.Namespace, contestants: Sequence[Contestant], ready_path: str | None = None
) -> Iterator[list[Hosted]]:
    """`hosted` by the options that `add_server_options` added; what the servers print is removed with them.

    Raises:
        ServerError: one could not be started: with its last words.
    """
    with (
        tempfile.TemporaryDirectory(prefix="loadtest-") as log_dir,
        hosted(
            contestants,
            ready_path=ready_path,
            ready_timeout_s=parsed.ready_timeout,
            request_timeout_s=parsed.request_timeout,
            ports=ports_of(parsed),
            log_dir=Path(log_dir),
        ) as servers,
    ):
        yield servers


def _last_words(server: Server) -> str:
    lines = server.last_lines(3)
    return f"; its last lines: {' / '.join(lines)}" if lines else ""


def add_server_options(container: argparse._ActionsContainer) -> None:
    """Adds what commands that start servers ask of them, to a parser or a group of its options."""
    container.add_argument("--ready-timeout", type=float, default=120.0, metavar="S", help="default %(default)s")
    container.add_argument("--request-timeout", type=float, default=60.0, metavar="S", help="default %(default)s")
    container.add_argument(
        "--first-port", type=int, metavar="PORT", help="use this port and the next ones (default: any)"
    )


def ports_of(parsed: argparse.Namespace) -> tuple[int, int] | None:
    """The first and the last port that servers may take; None for any."""
    return (parsed.first_port, parsed.first_port + 99) if parsed.first_port else None

"""A plain keep-alive HTTP client with little overhead of its own. Under gevent (Locust) its sockets are cooperative."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Self
from urllib.parse import urlsplit

from .errors import LoadtestError, ServerError

JSON_HEADERS = {"content-type": "application/json", "accept": "application/json"}
DEADLINE_HEADERS = ("x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens."""

    secure: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Of `http://host:port/prefix`.

        Raises:
            LoadtestError: it is none.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise LoadtestError(f"expected a host like http://127.0.0.1:8080, found {url!r}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LoadtestError(f"expected a host like http://127.0.0.1:8080, found {url!r}")
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    body: bytes
    server_timing: str = ""
    """The header of that name."""
    model_version: str | None = None
    """The header x-model-version; None: there is none."""


class Connection:
    """One connection, opened by the first request and kept open. `timeout_s` is for each read and write."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        kind = HTTPSConnection if endpoint.secure else HTTPConnection
        self._http = kind(endpoint.host, endpoint.port, timeout=timeout_s)
        self._prefix = endpoint.prefix
        self._timeout_s = timeout_s

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Raises OSError or http.client.HTTPException, and is closed then."""
        try:
            self._http.request(method, self._prefix + path, body, dict(headers or {}))
            response = self._http.getresponse()
            content, told = response.read(), response.headers
            return Reply(response.status, content, told.get("server-timing", ""), told.get("x-model-version"))
        except BaseException:
            self.close()
            raise

    def alive(self) -> bool:
        """Whether an idle connection can be used again: open, and with nothing to read."""
        sock: socket.socket | None = self._http.sock
        if sock is None:
            return False
        try:
            sock.settimeout(0)
            sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            sock.settimeout(self._timeout_s)
            return True
        except (OSError, ValueError):
            return False
        return False

    def refresh(self) -> None:
        """Opens the connection, again if the server closed it while idle. Raises OSError."""
        if not self.alive():
            self._http.close()
            self._http.connect()

    def close(self) -> None:
        """Closes the connection; the next request opens it again."""
        self._http.close()


class ConnectionPool:
    """Idle connections to one server, the last used first. As many as are in use at a time; the caller bounds that."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Raises OSError or http.client.HTTPException."""
        connection = self._take()
        reply = connection.request("POST", path, body, headers)
        self._idle.append(connection)
        return reply

    def close(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive():
                return connection
            connection.close()
        return Connection(self._endpoint, self._timeout_s)


def deadline_of(headers: Mapping[str, str], timeout_ms: float | None = None) -> float | None:
    """Milliseconds: the smallest in the headers, by lower-case name, and a body's timeout_ms. None: there is none."""
    named = [headers[name] for name in DEADLINE_HEADERS if name in headers]
    told = [float(value) for value in named if value.isdecimal()]
    return min([*told, *([] if timeout_ms is None else [timeout_ms])], default=None)


def check_ready(url: str, timeout_s: float = 5.0) -> None:
    """Asks the server whether it is ready.

    Raises:
        ServerError: it is not there or not ready.
    """
    connection = Connection(Endpoint.parse(url), timeout_s)
    try:
        reply = connection.request("GET", "/health/ready")
    except (OSError, HTTPException) as error:
        raise ServerError(f"no server at {url}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if reply.status != 200:
        reason = " ".join(reply.body.decode("utf-8", "replace").split())[:200]
        raise ServerError(f"{url}/health/ready answered {reply.status}, expected 200: {reason}")

"""A connection for the closed loops, whose client shares its cores with the server: a quarter of http.client's time.

It speaks what local servers answer to a small POST: HTTP/1.1 with a content-length. Everything else is refused.
"""

import select
import socket
from collections.abc import Mapping
from http.client import HTTPException, RemoteDisconnected

from ..client import Connection, Endpoint, Reply

_RECEIVE_BYTES = 1 << 16
_MAX_HEAD_BYTES = 1 << 16


class LeanConnection(Connection):
    """As `Connection`, without TLS, chunks or interim answers."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        super().__init__(endpoint, timeout_s)
        self._endpoint = endpoint
        self._socket: socket.socket | None = None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Raises OSError or http.client.HTTPException, and is closed then."""
        try:
            if self._socket is None:
                self.refresh()
            assert self._socket is not None
            self._socket.sendall(self._head(method, path, len(body or b""), headers or {}) + (body or b""))
            return self._receive(self._socket)
        except BaseException:
            self.close()
            raise

    def alive(self) -> bool:
        """Whether an idle connection can be used again: open, and with nothing to read."""
        return self._socket is not None and not select.select([self._socket], [], [], 0)[0]

    def refresh(self) -> None:
        """Opens the connection, again if the server closed it while idle. Raises OSError."""
        if not self.alive():
            self.close()
            self._socket = socket.create_connection((self._endpoint.host, self._endpoint.port), self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Closes the connection; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _head(self, method: str, path: str, size: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {self._endpoint.prefix}{path} HTTP/1.1", f"host: {self._endpoint.host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, f"content-length: {size}", "", ""]).encode()

    def _receive(self, connected: socket.socket) -> Reply:
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += _some(connected)
            if len(received) > _MAX_HEAD_BYTES:
                raise HTTPException("the answer's head has no end")
        first, *lines = received[:end].decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, size = first.split(" ")[1:2], fields.get("content-length", "")
        if not first.startswith("HTTP/1.1 ") or not status[0].isdecimal() or not size.isdecimal():
            raise HTTPException(f"expected HTTP/1.1 with a content-length, found {first!r}")
        parts, missing = [received[end + 4 :]], int(size) - (len(received) - end - 4)
        while missing > 0:
            parts.append(_some(connected))
            missing -= len(parts[-1])
        if fields.get("connection", "").lower() == "close":
            self.close()
        return Reply(int(status[0]), b"".join(parts), fields.get("server-timing", ""))


def _some(connected: socket.socket) -> bytes:
    received = connected.recv(_RECEIVE_BYTES)
    if not received:
        raise RemoteDisconnected("the server closed the connection without a whole answer")
    return received

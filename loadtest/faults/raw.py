"""Bare connections: what a caller sends byte by byte, and what comes back."""

import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

_ANSWER_S = 15.0
"""Nothing in the suite waits longer for a byte."""


class Answer(NamedTuple):
    """One, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Its body. Raises ValueError."""
        return json.loads(self.body)


class Raw:
    """A connection. Leaving the block closes it.

    Args:
        port: on this machine.
        receive_bytes: of the buffer for what comes; a small one makes a slow reader.

    Raises:
        OSError: nobody listens.
    """

    def __init__(self, port: int, receive_bytes: int | None = None) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(_ANSWER_S)
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            self._socket.connect(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> Self:
        """All of it. Raises OSError where the server has cut the connection."""
        self._socket.sendall(data)
        return self

    def reset(self) -> None:
        """Leaves without a word: the server's system gets a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    def answer(self) -> Answer | None:
        """The next answer; None where the connection ended before a whole one.

        Raises:
            TimeoutError: neither came.
        """
        while b"\r\n\r\n" not in self._read:
            if not self._receive():
                return None
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(self._read) < length:
            if not self._receive():
                return None
        body, self._read = self._read[:length], self._read[length:]
        return Answer(int(first.split()[1]), headers, body)

    def answers(self) -> list[Answer]:
        """All until the connection ends."""
        found = []
        while (answer := self.answer()) is not None:
            found.append(answer)
        return found

    def poll(self, timeout_s: float) -> bool:
        """Whether something, or the connection's end, has come within that time."""
        self._socket.settimeout(timeout_s)
        try:
            if not self._read:
                self._receive()
            return True
        except TimeoutError:
            return False
        finally:
            self._socket.settimeout(_ANSWER_S)

    def _receive(self) -> bool:
        try:
            piece = self._socket.recv(1 << 16)
        except ConnectionError:
            return False
        self._read += piece
        return bool(piece)


def head(path: str = "/score", method: str = "POST", *headers: str) -> bytes:
    """A request's head, its closing empty line included."""
    lines = [f"{method} {path} HTTP/1.1", "host: x", *headers]
    if method == "POST":
        lines.append("content-type: application/json")
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def post(body: bytes, *headers: str) -> bytes:
    """A whole scoring request."""
    return head("/score", "POST", f"content-length: {len(body)}", *headers) + body


def get(path: str) -> bytes:
    """A whole request without a body."""
    return head(path, "GET")


def ask(port: int, request: bytes) -> Answer:
    """Sends a request on a connection of its own.

    Raises:
        OSError: the server is not there, or does not answer.
    """
    with Raw(port) as raw:
        answer = raw.send(request).answer()
    if answer is None:
        raise ConnectionError("the connection ended without an answer")
    return answer

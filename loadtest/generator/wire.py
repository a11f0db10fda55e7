"""Requests as the bytes that go over the socket, and answers as the generator reads them from it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import httptools

from ..client import JSON_HEADERS, Endpoint, deadline_of
from ..errors import LoadtestError
from ..judging import Judged, judge


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A whole request, head and body."""

    data: bytes
    products: int
    abandon_s: float | None = None
    """The caller leaves so many seconds after sending; None: it waits."""
    deadline_ms: float | None = None
    """That its headers carry; None: none."""


@dataclass(slots=True)
class WireAnswer:
    """What came back."""

    status: int = 0
    body: bytes = b""
    retry_after: str | None = None
    model_version: str | None = None
    server_timing: str = ""


def wire_request(
    endpoint: Endpoint,
    body: bytes,
    products: int,
    headers: Mapping[str, str] | None = None,
    abandon_s: float | None = None,
    path: str = "/score",
) -> WireRequest:
    """POST of a body.

    Raises:
        LoadtestError: the endpoint is not plain http.
    """
    if endpoint.secure:
        raise LoadtestError("expected an http:// address: this generator does not speak TLS")
    fields = {"host": f"{endpoint.host}:{endpoint.port}", **JSON_HEADERS, "content-length": str(len(body))}
    fields |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    data = f"POST {endpoint.prefix}{path} HTTP/1.1\r\n{head}\r\n".encode() + body
    return WireRequest(data, products, abandon_s, deadline_of(headers or {}))


def judge_answer(answer: WireAnswer, products: int) -> Judged:
    """The outcome of an answer to a request of so many products."""
    return judge(answer.status, answer.body, products, answer.model_version)


class Channel(asyncio.Protocol):
    """One keep-alive connection, one request at a time.

    Args:
        on_lost: told when the connection is gone, with a reason if it broke in the middle of a request.
    """

    def __init__(self, on_lost: Callable[["Channel", str], None]) -> None:
        self.idle_since_s = 0.0
        self._on_lost = on_lost
        self._on_answer: Callable[[WireAnswer], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer = WireAnswer()
        self._pieces: list[bytes] = []

    def send(self, data: bytes, on_answer: Callable[[WireAnswer], None]) -> None:
        """Sends a request; `on_answer` is called when its answer is whole, and never if the connection is lost."""
        assert self._transport is not None
        self._on_answer = on_answer
        self._transport.write(data)

    @property
    def usable(self) -> bool:
        """Whether it can take a request."""
        return self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Leaves at once. The loss is not told."""
        self._on_answer = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio."""
        # uvloop's transports inherit from none of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio."""
        self._transport = None
        self._on_lost(self, f"{type(exc).__name__}: {exc}" if exc else "the server closed the connection")

    def data_received(self, data: bytes) -> None:
        """Of asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.abort()

    def on_message_begin(self) -> None:
        """Of the parser."""
        self._answer, self._pieces = WireAnswer(), []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the parser."""
        # Lengths first: most headers are none of these.
        if len(name) == 11 and name.lower() == b"retry-after":
            self._answer.retry_after = value.decode("latin-1")
        elif len(name) == 15 and name.lower() == b"x-model-version":
            self._answer.model_version = value.decode("latin-1")
        elif len(name) == 13 and name.lower() == b"server-timing":
            self._answer.server_timing = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Of the parser."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Of the parser."""
        answer = self._answer
        answer.status = self._parser.get_status_code()
        answer.body = b"".join(self._pieces)
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        if (on_answer := self._on_answer) is not None:
            self._on_answer = None
            on_answer(answer)

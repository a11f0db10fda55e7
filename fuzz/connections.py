"""Bytes as what comes over a connection: whole requests reach the application, the rest is refused with a problem.

The first byte of an input is the length of the pieces in which the rest arrives. h11 judges the same bytes: two readers
that both take a request must agree on where it ends, or one caller's bytes become another's request.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import h11
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.answer import answer
from service.connections import Connections
from service.metrics import Metrics
from service.protocol import MAX_PIPELINED, Protocol
from service.settings import Settings

REFUSALS = (400, 413, 429, 431)
TURNS = 200
"""Of the event loop, after which what has not happened will not."""


@dataclass(frozen=True)
class Seen:
    """A whole request."""

    method: str
    target: bytes
    body: bytes


@dataclass
class Talk:
    """What became of a connection."""

    requests: list[Seen] = field(default_factory=list)
    written: bytearray = field(default_factory=bytearray)


def check(data: bytes) -> None:
    """Raises AssertionError where a connection is served wrongly, and whatever serving it should not have raised."""
    if not data:
        return
    piece_bytes, sent = 1 + data[0], data[1:]
    at_once = _host().talk([sent])
    in_pieces = _host().talk([sent[i : i + piece_bytes] for i in range(0, len(sent), piece_bytes)])
    for talk in (at_once, in_pieces):
        _check_answers(talk)
    if sent.count(b"HTTP/1") <= MAX_PIPELINED:
        assert at_once.requests == in_pieces.requests, "what is read depends on how it is cut"
    _check_against(_as_h11_reads(sent), at_once.requests)


def _check_answers(talk: Talk) -> None:
    methods = [request.method for request in talk.requests]
    statuses = _statuses(bytes(talk.written), methods)
    assert statuses[: len(methods)] == [200] * len(methods), f"{statuses} for {len(methods)} whole requests"
    refusals = statuses[len(methods) :]
    assert len(refusals) <= 1, "answers that nobody asked for"
    assert all(status in REFUSALS for status in refusals), refusals


def _statuses(written: bytes, methods: Sequence[str]) -> list[int]:
    """Of all final answers. Raises AssertionError where they are not well-formed answers, one behind another."""
    statuses: list[int] = []
    while written:
        head, end, written = written.partition(b"\r\n\r\n")
        assert end, "half an answer"
        line, *lines = head.split(b"\r\n")
        assert line.startswith(b"HTTP/1.1 ")
        if line.startswith(b"HTTP/1.1 100"):
            continue
        headers = dict(each.split(b": ", 1) for each in lines)
        body_bytes = int(headers[b"content-length"])
        if len(statuses) >= len(methods) or methods[len(statuses)] != "HEAD":
            assert len(written) >= body_bytes, "half a body"
            written = written[body_bytes:]
        statuses.append(int(line.split(b" ")[1]))
    return statuses


def _check_against(reference: Sequence[Seen], requests: Sequence[Seen]) -> None:
    for theirs, ours in zip(reference, requests, strict=False):
        assert (theirs.method, theirs.body) == (ours.method, ours.body), "h11 reads another request"
        if theirs.target.startswith(b"/") and b"#" not in theirs.target:
            assert theirs.target == ours.target


def _as_h11_reads(sent: bytes) -> list[Seen]:
    """The whole requests up to the first that h11 does not take."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    requests: list[Seen] = []
    connection.receive_data(sent)
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                head, body = event, b""
                if head.method == b"CONNECT":
                    return requests
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                requests.append(Seen(head.method.decode(), head.target, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return requests
    except h11.ProtocolError:
        return requests


class Wire(asyncio.Transport):
    """A socket's end, in memory."""

    def __init__(self, written: bytearray) -> None:
        super().__init__()
        self._written = written
        self._closing = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """What the server sends."""
        if not self._closing:
            self._written += data

    def write_eof(self) -> None:
        """The server sends nothing more."""

    def pause_reading(self) -> None:
        """The server wants no more for the time being."""
        self.reading = False

    def resume_reading(self) -> None:
        """The server wants more."""
        self.reading = True

    def is_closing(self) -> bool:
        """Whether the server has closed it."""
        return self._closing

    def close(self) -> None:
        """The server is done."""
        self._closing = True

    def abort(self) -> None:
        """The server is done at once."""
        self._closing = True


class Host:
    """What connections share."""

    def __init__(self) -> None:
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
        self._loop = asyncio.new_event_loop()
        self._talk = Talk()
        self._config = uvicorn.Config(
            self._application,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self._config.load()
        settings = Settings()
        # Time stands still, so that nothing ends for being slow.
        self._connections = Connections(settings, Metrics(), now=lambda: 0.0)

    def talk(self, pieces: Sequence[bytes]) -> Talk:
        """Sends these, one after another, then leaves."""
        self._talk = Talk()
        self._loop.run_until_complete(self._serve(pieces))
        return self._talk

    async def _serve(self, pieces: Sequence[bytes]) -> None:
        state = ServerState()
        protocol = Protocol(
            config=self._config,
            server_state=state,
            app_state={},
            _loop=self._loop,
            connections=self._connections,
            clock=lambda: 0.0,
        )
        wire = Wire(self._talk.written)
        protocol.connection_made(wire)
        for piece in pieces:
            await self._turns(until=lambda: wire.reading or wire.is_closing())
            if wire.is_closing():
                break
            assert wire.reading, "the server never reads on"
            protocol.data_received(piece)
            await asyncio.sleep(0)
        # A caller that stays until what it has sent is answered.
        await self._turns(until=lambda: wire.is_closing() or not state.tasks)
        for _ in range(3):
            await asyncio.sleep(0)
        protocol.connection_lost(None)
        await self._turns(until=lambda: not state.tasks)
        assert not state.tasks, "a request is left behind"

    async def _turns(self, until: Callable[[], bool]) -> None:
        for _ in range(TURNS):
            if until():
                return
            await asyncio.sleep(0)

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        self._talk.requests.append(Seen(scope["method"], scope["raw_path"] + query, body))
        await answer(200, "text/plain", b"ok", {}).send(send)


@cache
def _host() -> Host:
    return Host()

"""One connection: its requests in their order, the bounds on how long a caller may take, and its end."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from .answer import NO_SNIFFING, render_head
from .connections import Connections, is_probe
from .context import ARRIVAL_KEY, WHOLE_BODY_KEY
from .door import Door
from .errors import (
    BodyTooLargeError,
    HeadTooLargeError,
    LateHeadError,
    MalformedBodyError,
    ServiceError,
    TooManyConnectionsError,
    TooManyPipelinedError,
)
from .exchange import Exchange
from .parsing import BoundedParsing
from .problem import problem_answer

log = logging.getLogger(__name__)

MAX_PIPELINED = 16
"""Requests that may wait behind the one in work on the same connection."""

MAX_UNQUOTED_CHARS = 1000
"""Longer paths lead nowhere, and would take long to decode."""

MAX_UNREAD_BYTES = 8 * 1024 * 1024
"""How much is taken of a body that nobody reads, or from a caller that was refused, before the connection is cut."""

REASONS: dict[type[ServiceError], str] = {
    MalformedBodyError: "malformed",
    LateHeadError: "late_head",
    BodyTooLargeError: "unread_body",
    HeadTooLargeError: "head_too_large",
    TooManyPipelinedError: "pipelined",
    TooManyConnectionsError: "connections",
}


class Protocol(BoundedParsing):
    """One connection. It ends with the first request that is not HTTP, or that breaks a bound on heads.

    Args:
        connections: all those of the server.
        clock: monotonic, in seconds; its reading at the end of a head is the request's arrival.
        door: may answer a request before it is one of the application's; None: nothing does.
    """

    cycle: Exchange

    def __init__(
        self,
        *args: Any,
        connections: Connections,
        clock: Callable[[], float],
        door: Door | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._door = door
        self._connections = connections
        self._clock = clock
        self._in_body = False
        self._working: Exchange | None = None
        self._queued: deque[Exchange] = deque()
        self._refused = False
        self._refused_at_once = 0
        self._unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepted."""
        super().connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._connections.closed(self)
        self._queued.clear()
        if self._working is not None:
            self._working.gone()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller does not read as fast as it is written to."""
        super().pause_writing()
        self._connections.writes.add(self)

    def resume_writing(self) -> None:
        """The caller has read on."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._connections.writes.discard(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if not self._refused:
            self._refused_at_once = 0
            super().data_received(data)
            return
        self._unread_bytes += len(data)
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A head begins."""
        if len(self._queued) >= MAX_PIPELINED:
            self.fail(TooManyPipelinedError(MAX_PIPELINED))
        super().on_message_begin()
        self._connections.idle.discard(self)
        self._connections.heads.add(self)

    def head_ended(self) -> None:
        """Its request is answered at once, or behind those before it."""
        http_version = self.parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        cast(dict[str, Any], self.scope).update(
            {
                "method": self.parser.get_method().decode("ascii"),
                "http_version": http_version,
                "path": unquote(path) if "%" in path and len(path) <= MAX_UNQUOTED_CHARS else path,
                "raw_path": url.path,
                "query_string": url.query or b"",
                ARRIVAL_KEY: self._clock(),
            }
        )
        exchange = self._exchange(keep_alive=http_version != "1.0" and self.parser.should_keep_alive())
        cast(dict[str, Any], self.scope)[WHOLE_BODY_KEY] = exchange.has_whole_body
        if self._connections.is_above(self):
            if not is_probe(self.scope["method"], path):
                if self.scope["method"] == "POST" and path == "/score":
                    self._connections.refused_score()
                self.fail(TooManyConnectionsError())
            exchange.keep_alive = False
        self._connections.heads.discard(self)
        self._in_body, self._unread_bytes = True, 0
        self.cycle = exchange
        if self._working is None:
            if not self._is_refused(exchange):
                self._start(exchange)
        else:
            self.flow.pause_reading()
            self._queued.append(exchange)

    def body_goes_on(self, body: bytes) -> None:
        """It is kept for the application, unless its answer is out already."""
        exchange = self.cycle
        if exchange.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > MAX_UNREAD_BYTES:
                self.fail(BodyTooLargeError(MAX_UNREAD_BYTES))
            return
        exchange.body += body
        if len(exchange.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        exchange.message_event.set()

    def message_ended(self) -> None:
        """The request has ended."""
        self._in_body = False
        exchange = self.cycle
        exchange.more_body = False
        if exchange.response_complete:
            self._connections.heads.discard(self)
            self._connections.idle.add(self)
        else:
            exchange.message_event.set()

    def on_response_complete(self) -> None:
        """An answer has been written, perhaps before its request has ended."""
        self.server_state.total_requests += 1
        self._working = None
        if self.transport.is_closing():
            # What has been written still has to be read.
            self._connections.writes.add(self)
            return
        self.flow.resume_reading()
        if self._queued:
            self._start(self._queued.popleft())
        elif self._in_body:
            self._connections.heads.add(self)
        elif not self.in_head:
            self._connections.idle.add(self)

    def refuse_for_room(self) -> None:
        """See Connection."""
        if self._refused or self._working is not None:
            self.abort()
            return
        self.refuse(TooManyConnectionsError())
        # It may not linger: there would be no end of those that do.
        self.transport.close()

    def end_reading(self) -> None:
        """See Connection."""
        if self.flow.read_paused:
            self._connections.heads.add(self)
        elif self.in_head:
            self.refuse(LateHeadError())
        else:
            self._close()

    def end_writing(self) -> None:
        """See Connection."""
        self._connections.refused("slow_reader")
        self.transport.abort()

    def end_idle(self) -> None:
        """See Connection."""
        self._close()

    def abort(self) -> None:
        """See Connection."""
        self.transport.abort()

    def _exchange(self, *, keep_alive: bool) -> Exchange:
        return Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def _is_refused(self, exchange: Exchange) -> bool:
        """Whether the door has answered it, since there is no room."""
        scope = cast(dict[str, Any], exchange.scope)
        if self._door is None or scope["path"] != "/score" or scope["method"] != "POST" or self.flow.write_paused:
            return False
        if self._refused_at_once >= MAX_PIPELINED:
            # One caller's requests, sent ahead, must not hold up all others.
            return False
        if not exchange.keep_alive:
            # Closed with its body unread, the connection would be reset, and the answer lost with it.
            return False
        try:
            refusal = self._door.refusal(scope, self.server_state.default_headers)
        except Exception:
            # The application answers for what goes wrong; here it would cost the connection.
            log.exception("a request could not be looked at early")
            return False
        if refusal is None:
            return False
        self._refused_at_once += 1
        exchange.finish(refusal)
        return True

    def _start(self, exchange: Exchange) -> None:
        self._working = exchange
        self._start_asgi_task(exchange, self.app)

    def refuse(self, error: ServiceError) -> None:
        """Nothing more is read. Requests that were received whole get their answers; then the connection ends.

        The error is the answer to a request that was being received, where no other waits for its own.
        """
        if self.transport.is_closing():
            return
        self._refused = True
        self._connections.refused(REASONS[type(error)])
        if self._in_body:
            broken = self.cycle
            if broken.response_started:
                self._close()
                return
            broken.gone()
            if broken is self._working:
                self._working = None
            elif self._queued:
                self._queued.pop()
        if self._working is None:
            self._answer(error)
        else:
            last = self._queued[-1] if self._queued else self._working
            last.keep_alive = False

    def _answer(self, error: ServiceError) -> None:
        request_id = os.urandom(16).hex()
        answer = problem_answer(error, request_id)
        own = [(b"x-request-id", request_id.encode()), NO_SNIFFING, (b"connection", b"close")]
        self.transport.write(render_head(answer.status, [*answer.headers, *own]) + answer.body)
        # Closed with bytes unread, it would be reset, and the answer lost with it.
        self.transport.write_eof()
        self._connections.lingering.add(self)

    def _close(self) -> None:
        self.transport.close()
        self._connections.writes.add(self)

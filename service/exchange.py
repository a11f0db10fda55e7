"""One request and its answer, on one connection."""

from collections.abc import MutableMapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from .answer import render_head


class Exchange(RequestResponseCycle):
    """Writes the head of an answer together with its body, where the body's length is known from the start."""

    _head: bytes | None = None

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        """The application's end of it."""
        if not self.response_started and message["type"] == "http.response.start":
            headers = [*self.default_headers, *message.get("headers", [])]
            if any(name == b"content-length" for name, _ in headers):
                self.response_started = True
                self.waiting_for_100_continue = False
                if not self.keep_alive:
                    headers.append((b"connection", b"close"))
                self._head = render_head(message["status"], headers)
                return
        if self._head is None or self.response_complete or message["type"] != "http.response.body":
            await super().send(message)  # type: ignore[arg-type]
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self._write(message.get("body", b""), more=message.get("more_body", False))

    def has_whole_body(self) -> bool:
        """Whether the body has arrived."""
        return not self.more_body

    def gone(self) -> None:
        """The caller has left: the application sees a disconnect, and what it sends goes nowhere."""
        if not self.response_complete:
            self.disconnected = True
        self.message_event.set()

    def finish(self, answer: bytes) -> None:
        """Writes a whole answer, head and body, of which nothing has been written."""
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(answer)
        self._end()

    def _write(self, body: bytes, *, more: bool) -> None:
        assert self._head is not None
        self.transport.write(self._head + (b"" if self.scope["method"] == "HEAD" else body))
        self._head = b""
        if not more:
            self._end()

    def _end(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

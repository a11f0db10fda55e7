"""Bounds request bodies, as sent and once decompressed, and undoes gzip."""

import zlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BodyTooLargeError, MalformedBodyError, UnsupportedMediaError

GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS
MAX_GZIP_MEMBERS = 100
"""A member of nothing takes 20 bytes, so that a body would have room for 100,000."""


class BodyMiddleware:
    """Hands the application bodies of at most `max_body_bytes`. Nothing is read that nobody asks for.

    A body over the limit is refused at the first byte past it, or before the first one where its length is announced;
    gzip is never inflated further than the limit.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receive = _BoundedBody(scope, receive, self._max_body_bytes)
        await self._app(scope, receive, send)


class _BoundedBody:
    def __init__(self, scope: Scope, receive: Receive, max_bytes: int) -> None:
        self._headers = scope["headers"]
        self._receive = receive
        self._max_bytes = max_bytes
        self._sent_bytes = 0
        self._checked = False
        self._gzip: Inflater | None = None

    async def __call__(self) -> Message:
        if not self._checked:
            self._check_headers()
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        body: bytes = message.get("body", b"")
        self._sent_bytes += len(body)
        if self._sent_bytes > self._max_bytes:
            raise BodyTooLargeError(self._max_bytes)
        if self._gzip is None:
            return message
        body = self._gzip.feed(body)
        more = message.get("more_body", False)
        if not more:
            self._gzip.check_ended()
        return {**message, "body": body}

    def _check_headers(self) -> None:
        self._checked = True
        encodings = []
        for name, value in self._headers:
            if name == b"content-length" and int(value) > self._max_bytes:
                raise BodyTooLargeError(self._max_bytes)
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                raise UnsupportedMediaError("expected no transfer-encoding but chunked")
            if name == b"content-encoding":
                encodings += [part.strip().lower() for part in value.split(b",")]
        wanted = [encoding for encoding in encodings if encoding not in (b"", b"identity")]
        if wanted in ([b"gzip"], [b"x-gzip"]):
            self._gzip = Inflater(self._max_bytes)
        elif wanted:
            raise UnsupportedMediaError(
                "expected no content-encoding, or gzip once", headers={"accept-encoding": "gzip, identity"}
            )


class Inflater:
    """Inflates a gzip stream of one or more members, up to a limit.

    Raises, from `feed`:
        BodyTooLargeError: it holds more than `max_bytes`.
        MalformedBodyError: it is not gzip, or damaged, or has too many members.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._inflated_bytes = 0
        self._member = zlib.decompressobj(GZIP_WINDOW_BITS)
        self._members = 1
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """The next compressed bytes, inflated."""
        parts = []
        while data:
            if self._member.eof:
                self._members += 1
                if self._members > MAX_GZIP_MEMBERS:
                    raise MalformedBodyError(f"expected at most {MAX_GZIP_MEMBERS} gzip members")
                self._member = zlib.decompressobj(GZIP_WINDOW_BITS)
            self._begun = True
            try:
                part = self._member.decompress(data, self._max_bytes - self._inflated_bytes + 1)
            except zlib.error as error:
                raise MalformedBodyError("expected a gzip body, as content-encoding says") from error
            self._inflated_bytes += len(part)
            if self._inflated_bytes > self._max_bytes:
                raise BodyTooLargeError(self._max_bytes)
            parts.append(part)
            data = self._member.unused_data or self._member.unconsumed_tail
        return b"".join(parts)

    def check_ended(self) -> None:
        """Raises MalformedBodyError where the stream was cut short."""
        if not (self._begun and self._member.eof):
            raise MalformedBodyError("expected a whole gzip body, found one that was cut short")

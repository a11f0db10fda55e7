"""What a connection speaks: HTTP with a bound on a request's head, and a problem for what is not HTTP."""

import uuid

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .errors import HeadTooLargeError, MalformedBodyError, ServiceError, status_and_title
from .problem import problem_response

MAX_HEAD_BYTES = 64 * 1024


class Protocol(HttpToolsProtocol):
    """One connection. It ends with the first request that is not HTTP, or whose URL and headers are too long."""

    _in_head = False
    _parsed_bytes = 0
    _unparsed_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Counts what belongs to a head still open: the parser keeps a header to itself until it is whole."""
        was_in_head = self._in_head
        super().data_received(data)
        self._unparsed_bytes = self._unparsed_bytes + len(data) if was_in_head and self._in_head else 0
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(HeadTooLargeError(MAX_HEAD_BYTES))

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head, self._parsed_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser gave up, or a callback above raised."""
        too_large = self._parsed_bytes > MAX_HEAD_BYTES
        self._refuse(HeadTooLargeError(MAX_HEAD_BYTES) if too_large else MalformedBodyError(msg))

    def _count(self, size: int) -> None:
        self._parsed_bytes += size
        if self._parsed_bytes > MAX_HEAD_BYTES:
            raise HeadTooLargeError(MAX_HEAD_BYTES)

    def _refuse(self, error: ServiceError) -> None:
        request_id = uuid.uuid4().hex
        response = problem_response(error, request_id)
        headers = [*response.raw_headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        status, title = status_and_title(error)
        start = f"HTTP/1.1 {status} {title}\r\n".encode()
        self.transport.write(start + head + b"\r\n" + bytes(response.body))
        self.transport.close()

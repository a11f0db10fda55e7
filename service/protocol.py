"""What a connection speaks: HTTP with a bound on what the parser keeps, and a problem for what is not HTTP.

Offers to speak another protocol are declined by answering in this one, as RFC 9110 (7.8) allows.
"""

import sys
import uuid

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .errors import HeadTooLargeError, MalformedBodyError, ServiceError, status_and_title
from .problem import problem_answer

MAX_HEAD_BYTES = 64 * 1024


class Protocol(HttpToolsProtocol):
    """One connection. It ends with the first request that is not HTTP, or whose URL and headers are too long."""

    _parsed_bytes = 0
    _unparsed_bytes = 0
    _progressed = False
    _declined = False
    _declined_at = 0

    def data_received(self, data: bytes) -> None:
        """Counts what leads to nothing: the parser keeps a header, or a trailer, to itself until it is whole."""
        self._progressed = False
        super().data_received(data)
        self._unparsed_bytes = 0 if self._progressed else self._unparsed_bytes + len(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(HeadTooLargeError(MAX_HEAD_BYTES))
        elif self._declined:
            self._declined = False
            self.data_received(self._head_without_upgrade() + data[self._declined_at :])

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._progressed, self._parsed_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header, or a whole trailer."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head has ended. Where it offers another protocol, the parser would skip the body."""
        self._progressed = True
        self._declined = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._declined:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has ended."""
        self._progressed = True
        if not self._declined:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser gave up, or a callback above raised."""
        too_large = self._parsed_bytes > MAX_HEAD_BYTES
        self._refuse(HeadTooLargeError(MAX_HEAD_BYTES) if too_large else MalformedBodyError(msg))

    def _unsupported_upgrade_warning(self) -> None:
        # Called where the parser has stopped behind the head. A warning would be for what clients do by default.
        error = sys.exception()
        assert isinstance(error, httptools.HttpParserUpgrade)
        self._declined_at = error.args[0]

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        fields = [name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(fields))

    def _count(self, size: int) -> None:
        self._progressed = True
        self._parsed_bytes += size
        if self._parsed_bytes > MAX_HEAD_BYTES:
            raise HeadTooLargeError(MAX_HEAD_BYTES)

    def _refuse(self, error: ServiceError) -> None:
        request_id = uuid.uuid4().hex
        answer = problem_answer(error, request_id)
        headers = [*answer.headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        status, title = status_and_title(error)
        start = f"HTTP/1.1 {status} {title}\r\n".encode()
        self.transport.write(start + head + b"\r\n" + answer.body)
        self.transport.close()

"""What the HTTP parser may keep of a connection, and how it goes on where it would stop."""

from typing import Never

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .errors import HeadTooLargeError, MalformedBodyError, ServiceError

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100


class BoundedParsing(HttpToolsProtocol):
    """Bounds URL, headers, trailers and chunk extensions.

    Offers to speak another protocol are declined by answering in this one, as RFC 9110 (7.8) allows.
    """

    in_head = False
    """Whether a head has begun and not ended."""

    _error: ServiceError | None = None
    _headers_count = 0
    _parsed_bytes = 0
    _unparsed_bytes = 0
    _progressed = False
    _declined = False

    def refuse(self, error: ServiceError) -> None:
        """Nothing more can be read from this connection."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Counts what leads to nothing: the parser keeps a header, or a trailer, to itself until it is whole."""
        self._progressed = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser has stopped behind the head.
            self._declined = False
            self.data_received(self._head_without_upgrade() + data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self.refuse(self._error or MalformedBodyError("Invalid HTTP request received."))
            return
        self._unparsed_bytes = 0 if self._progressed else self._unparsed_bytes + len(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES:
            self.refuse(HeadTooLargeError(MAX_HEAD_BYTES, MAX_HEADERS))

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self.in_head, self._progressed = True, True
        self._parsed_bytes, self._headers_count = 0, 0

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header, or a whole trailer. No trailer is kept: it would pass for a header."""
        if self.in_head:
            super().on_header(name, value)
        self._headers_count += 1
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head has ended. Where it offers another protocol, the parser would skip the body."""
        self._progressed = True
        if self.parser.get_method() == b"CONNECT":
            # What comes behind it is not HTTP, and no header taken away would make it an offer to decline.
            self.fail(MalformedBodyError("expected a request, not CONNECT: this is no proxy"))
        self._declined = self.parser.should_upgrade()
        if not self._declined:
            self.head_ended()
            self.in_head = False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._progressed = True
        self.body_goes_on(body)

    def on_message_complete(self) -> None:
        """The request has ended."""
        self._progressed = True
        if not self._declined:
            self.message_ended()

    def head_ended(self) -> None:
        """A head is whole."""
        raise NotImplementedError

    def body_goes_on(self, body: bytes) -> None:
        """A piece of a body has come."""
        raise NotImplementedError

    def message_ended(self) -> None:
        """A request is whole."""
        raise NotImplementedError

    def fail(self, error: ServiceError) -> Never:
        """Ends the parsing from within, with this error for `refuse`: the parser makes one and the same of all."""
        self._error = error
        raise error

    def _count(self, size: int) -> None:
        self._progressed = True
        self._parsed_bytes += size
        if self._parsed_bytes > MAX_HEAD_BYTES or self._headers_count > MAX_HEADERS:
            self.fail(HeadTooLargeError(MAX_HEAD_BYTES, MAX_HEADERS))

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        fields = [name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(fields))

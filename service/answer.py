"""A whole answer to a request: status, headers, body."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

NO_SNIFFING = (b"x-content-type-options", b"nosniff")
"""Goes with every answer: no browser is to take it for anything but what its content-type says."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Headers are lower-case, content-length among them, as ASGI wants them."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send(self, send: Send) -> None:
        """As ASGI messages."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


def answer(status: int, content_type: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """An answer with a content-type, a content-length, and other headers."""
    raw = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    raw += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Answer(status, raw, body)


def render_head(status: int, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Status line and headers, as they go over the wire.

    Raises:
        ValueError: a header holds a line break, and would be taken for two.
    """
    lines = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
    if lines.count(b"\n") != len(headers):
        raise ValueError("a header of the answer holds a line break")
    return STATUS_LINE[status] + lines + b"\r\n"

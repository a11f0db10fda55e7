"""A whole answer to a request: status, headers, body."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Send


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
    """An answer with a content-type, a content-length, and other headers (names in lower case)."""
    raw = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
    raw += [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Answer(status, raw, body)

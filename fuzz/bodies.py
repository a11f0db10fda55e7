"""Bytes as a body of POST /score: a valid request, or a problem that is the caller's fault, and nothing else.

The first byte of an input says how the rest is sent, see `Framing`. Two other readers judge the same bytes: pydantic
with the plain strict model, as FastAPI would use it, and Python's own json and gzip.
"""

import asyncio
import gzip
import json
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import TypedDict

from service.errors import BodyTooLargeError, InvalidRequestError, MalformedBodyError, RequestError, status_and_title
from service.json_bounds import check_values
from service.middleware import BodyMiddleware
from service.schemas import Query, ScoreRequest, Text, most_values, parse_score_request, score_request_model

MAX_PRODUCTS = 5
MAX_BODY_BYTES = 8192
MAX_VALUES = most_values(MAX_PRODUCTS)
MODEL = score_request_model(MAX_PRODUCTS)


class PlainProduct(TypedDict):
    """The reference: the contract as one would write it down for FastAPI, without regard to what it costs."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    title: str
    id: NotRequired[Text | None]
    brand: NotRequired[Text | None]
    color: NotRequired[Text | None]
    product_type: NotRequired[Text | None]
    gender: NotRequired[Text | None]
    description: NotRequired[Text | None]


class PlainRequest(BaseModel):
    """The reference for the whole body."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    query: Query
    products: list[PlainProduct] = Field(min_length=1, max_length=MAX_PRODUCTS)
    timeout_ms: float | None = Field(default=None, gt=0)
    partial: bool = False
    model: str | None = None


@dataclass(frozen=True)
class Framing:
    """How bytes are sent, by the bits of one byte.

    Attributes:
        encoding: what content-encoding claims.
        compress: whether what follows is compressed before it is sent, so that the claim can hold.
        piece_bytes: length of the pieces in which it arrives.
    """

    encoding: Literal["", "gzip"]
    compress: bool
    piece_bytes: int

    @classmethod
    def of(cls, byte: int) -> "Framing":
        """The lowest bit: gzip is claimed; the next: it is true; the rest: the length of a piece."""
        return cls("gzip" if byte & 1 else "", byte & 3 == 3, 1 + (byte >> 2) ** 2)


def check(data: bytes) -> None:
    """Raises AssertionError where the service is wrong about these bytes, and whatever it should not have raised."""
    if not data:
        return
    framing, body = Framing.of(data[0]), data[1:]
    sent = gzip.compress(body, mtime=0) if framing.compress else body
    try:
        read = asyncio.run(_read(sent, framing))
    except RequestError as error:
        _check_refused_body(error, body, sent, framing)
        return
    if framing.encoding:
        assert read == (body if framing.compress else gzip.decompress(sent)), "inflated to something else"
    else:
        assert read == sent, "a body changed on its way"
    _check_parsed(read)


async def _read(sent: bytes, framing: Framing) -> bytes:
    """The body as the application gets it."""
    pieces = [sent[i : i + framing.piece_bytes] for i in range(0, len(sent), framing.piece_bytes)] or [b""]
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    waiting[-1]["more_body"] = False
    received: list[bytes] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def application(_: Scope, receive: Receive, __: Send) -> None:
        more = True
        while more:
            message = await receive()
            received.append(message["body"])
            assert sum(map(len, received)) <= MAX_BODY_BYTES, "more than the limit was handed on"
            more = message["more_body"]

    async def send(_: Message) -> None:
        raise AssertionError("nobody answers here")

    headers = [(b"content-encoding", b"gzip")] if framing.encoding else []
    scope = {"type": "http", "headers": headers}
    await BodyMiddleware(application, MAX_BODY_BYTES)(scope, receive, send)
    return b"".join(received)


def _check_refused_body(error: RequestError, body: bytes, sent: bytes, framing: Framing) -> None:
    status, _ = status_and_title(error)
    assert status in (400, 413)
    if framing.compress or not framing.encoding:
        too_large = max(len(body), len(sent)) > MAX_BODY_BYTES
        assert isinstance(error, BodyTooLargeError) == too_large, "a sound body was refused"


def _check_parsed(body: bytes) -> None:
    try:
        request = parse_score_request(MODEL, body, MAX_VALUES)
    except (MalformedBodyError, InvalidRequestError) as error:
        _check_refused_json(error, body)
        return
    plain = PlainRequest.model_validate_json(body)
    assert request.model_dump() == plain.model_dump(), "pydantic reads it otherwise"
    _check_as_python_reads_it(request, json.loads(body))
    again = parse_score_request(MODEL, request.model_dump_json(exclude_unset=True).encode(), MAX_VALUES)
    assert again == request, "what was read does not survive being written"


def _check_refused_json(error: RequestError, body: bytes) -> None:
    status, _ = status_and_title(error)
    assert len(error.detail) < 2000, "a refusal repeats what was sent"
    error.detail.encode()
    for violation in error.violations:
        assert len(json.dumps(violation.as_dict())) < 4000
    try:
        PlainRequest.model_validate_json(body)
    except ValidationError as refused:
        wanted = 400 if refused.errors(include_url=False)[0]["type"] == "json_invalid" else 422
    else:
        wanted = 200
    try:
        check_values(body, MAX_VALUES)
    except MalformedBodyError:
        assert wanted != 200 or _repeats_keys(body), "a sound request has too many values"
        wanted = 400
    assert status == wanted, f"{status} for what pydantic answers with {wanted}"


def _repeats_keys(body: bytes) -> bool:
    """Whether a key comes twice in an object: only so can a sound request be of any number of values."""
    repeated: list[bool] = []
    json.loads(body, object_pairs_hook=lambda pairs: repeated.append(len(dict(pairs)) < len(pairs)))
    return any(repeated)


def _check_as_python_reads_it(request: ScoreRequest, read: dict[str, Any]) -> None:
    fields = {"query", "products", "timeout_ms", "partial", "model"}
    assert read.keys() <= fields
    assert request.query in read["query"]
    assert 1 <= len(request.query) <= 512
    assert request.products == read["products"]
    assert request.timeout_ms == read.get("timeout_ms")
    assert request.partial == read.get("partial", False)
    assert request.model == read.get("model")

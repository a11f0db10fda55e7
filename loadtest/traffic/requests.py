"""The requests that a run plays: read from a JSONL file, one request body a line, or made up where there is none."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..errors import TrafficError
from .synthetic import synthetic_requests

MAX_LINES = 20_000
MAX_PRODUCTS = 1_000
MAX_QUERY_CHARS = 512
MAX_FIELD_CHARS = 4_000
PRODUCT_FIELDS = ("title", "brand", "color", "product_type", "gender", "description")
_OPTIONAL_KEYS = {"timeout_ms", "partial", "model"}

Product = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """One request: parsed, and as the bytes to send."""

    query: str
    products: Sequence[Product]
    body: bytes
    timeout_ms: float | None = None
    """Its own deadline; None: none."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests and, in words, where they come from."""

    requests: Sequence[ScoreRequest]
    source: str
    synthetic: bool


def make_request(query: str, products: Sequence[Product]) -> ScoreRequest:
    """Serialised without blanks; absent fields are left out."""
    slim = [slim_product(product) for product in products]
    return ScoreRequest(query, slim, request_body(query, [compact_json(product) for product in slim]))


def slim_product(product: Product) -> dict[str, str]:
    """Without absent fields."""
    return {key: value for key, value in product.items() if value}


def request_body(query: str, products: Sequence[bytes]) -> bytes:
    """Of products that are serialised already."""
    return b'{"query":%b,"products":[%b]}' % (compact_json(query), b",".join(products))


def compact_json(value: Any) -> bytes:
    """Without blanks, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def load_traffic(path: Path | None, *, requests: int, products: int, seed: int) -> Traffic:
    """The file's requests, or `requests` synthetic ones of `products` products each.

    Raises:
        TrafficError: naming file, line and field.
    """
    if path is not None:
        loaded = read_traffic(path)
        sizes = sorted(len(request.products) for request in loaded)
        span = str(sizes[0]) if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
        return Traffic(loaded, f"{path} ({len(loaded)} requests of {span} products)", synthetic=False)
    made = [make_request(query, listed) for query, listed in synthetic_requests(requests, products, seed)]
    return Traffic(made, f"synthetic ({requests} requests of {products} products, seed {seed})", synthetic=True)


def read_traffic(path: Path) -> list[ScoreRequest]:
    """Reads a traffic file; blank lines are skipped.

    Raises:
        TrafficError: naming file, line and field.
    """
    return [parse_request(contents, line, where) for contents, line, where in read_objects(path, MAX_LINES, "request")]


def read_objects(path: Path, max_lines: int, what: str) -> Iterator[tuple[dict[str, Any], bytes, str]]:
    """JSONL: each line's object, its bytes, and its file and number in words; blank lines are skipped.

    Raises:
        TrafficError: it cannot be read, has no line (it names `what` it should hold) or too many, or one is no object.
    """
    found = False
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if number > max_lines:
                    raise TrafficError(f"{path}: expected at most {max_lines} lines")
                if line.strip():
                    found = True
                    where = f"{path} line {number}"
                    yield _parse_object(line.strip(), where), line.strip().encode(), where
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TrafficError(f"{path}: cannot be read: {error}") from None
    if not found:
        raise TrafficError(f"{path}: expected at least one {what}, found none")


def open_text(path: Path) -> TextIO:
    """Opens UTF-8 text, compressed where the name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def parse_request(contents: dict[str, Any], body: bytes, where: str) -> ScoreRequest:
    """A body of POST /score, checked.

    Raises:
        TrafficError: naming `where` and the field.
    """
    check_keys(contents, {"query", "products"}, _OPTIONAL_KEYS, where)
    query = parse_text(contents["query"], f"{where}: query", MAX_QUERY_CHARS)
    products = contents["products"]
    if not isinstance(products, list) or not 1 <= len(products) <= MAX_PRODUCTS:
        found = f"{len(products)}" if isinstance(products, list) else kind_of(products)
        raise TrafficError(f"{where}: products: expected a list of 1 to {MAX_PRODUCTS} products, found {found}")
    for index, product in enumerate(products):
        check_product(product, f"{where}: products[{index}]")
    timeout_ms = contents.get("timeout_ms")
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, int | float):
        # What the service refuses may be sent to it.
        timeout_ms = None
    return ScoreRequest(query, products, body, timeout_ms)


def _parse_object(line: str, where: str) -> dict[str, Any]:
    try:
        contents = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TrafficError(f"{where}: expected JSON: {error}") from None
    if not isinstance(contents, dict):
        raise TrafficError(f"{where}: expected an object, found {kind_of(contents)}")
    return contents


def check_product(product: Any, where: str) -> None:
    """Raises TrafficError unless it is a product of the contract."""
    if not isinstance(product, dict):
        raise TrafficError(f"{where}: expected an object, found {kind_of(product)}")
    check_keys(product, {"title"}, {"id", *PRODUCT_FIELDS}, where)
    parse_text(product["title"], f"{where}.title", MAX_FIELD_CHARS)
    for name, value in product.items():
        if value is not None:
            parse_text(value, f"{where}.{name}", MAX_FIELD_CHARS, may_be_blank=True)


def check_keys(found: Mapping[str, Any], required: set[str], optional: set[str], where: str) -> None:
    """Raises TrafficError for a field that is missing or unknown."""
    for name in sorted(required):
        if name not in found:
            raise TrafficError(f"{where}: {name}: missing")
    for name in found:
        if name not in required | optional:
            raise TrafficError(f"{where}: {name}: unknown field, expected {', '.join(sorted(required | optional))}")


def parse_text(value: Any, where: str, max_chars: int, *, may_be_blank: bool = False) -> str:
    """Raises TrafficError unless it is text of so many characters."""
    if not isinstance(value, str):
        raise TrafficError(f"{where}: expected text, found {kind_of(value)}")
    if not may_be_blank and not value.strip():
        raise TrafficError(f"{where}: expected text, found blanks")
    if len(value) > max_chars:
        raise TrafficError(f"{where}: expected at most {max_chars} characters, found {len(value)}")
    return value


def kind_of(value: Any) -> str:
    """What JSON calls it."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")

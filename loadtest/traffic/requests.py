"""The requests that a run plays: read from a JSONL file, one request body a line, or made up where there is none."""

import gzip
import json
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests and, in words, where they come from."""

    requests: Sequence[ScoreRequest]
    source: str
    synthetic: bool


def make_request(query: str, products: Sequence[Product]) -> ScoreRequest:
    """Serialised without blanks; absent fields are left out."""
    slim = [{key: value for key, value in product.items() if value} for product in products]
    body = json.dumps({"query": query, "products": slim}, ensure_ascii=False, separators=(",", ":"))
    return ScoreRequest(query, slim, body.encode())


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
    requests: list[ScoreRequest] = []
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if number > MAX_LINES:
                    raise TrafficError(f"{path}: expected at most {MAX_LINES} lines")
                if line.strip():
                    requests.append(_parse_line(line.strip(), f"{path} line {number}"))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TrafficError(f"{path}: cannot be read: {error}") from None
    if not requests:
        raise TrafficError(f"{path}: expected at least one request, found none")
    return requests


def open_text(path: Path) -> TextIO:
    """Opens UTF-8 text, compressed where the name ends in .gz."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _parse_line(line: str, where: str) -> ScoreRequest:
    try:
        contents = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TrafficError(f"{where}: expected JSON: {error}") from None
    if not isinstance(contents, dict):
        raise TrafficError(f"{where}: expected an object, found {_kind(contents)}")
    _check_keys(contents, {"query", "products"}, _OPTIONAL_KEYS, where)
    query = _text(contents["query"], f"{where}: query", MAX_QUERY_CHARS)
    products = contents["products"]
    if not isinstance(products, list) or not 1 <= len(products) <= MAX_PRODUCTS:
        found = f"{len(products)}" if isinstance(products, list) else _kind(products)
        raise TrafficError(f"{where}: products: expected a list of 1 to {MAX_PRODUCTS} products, found {found}")
    for index, product in enumerate(products):
        _check_product(product, f"{where}: products[{index}]")
    return ScoreRequest(query, products, line.encode())


def _check_product(product: Any, where: str) -> None:
    if not isinstance(product, dict):
        raise TrafficError(f"{where}: expected an object, found {_kind(product)}")
    _check_keys(product, {"title"}, {"id", *PRODUCT_FIELDS}, where)
    _text(product["title"], f"{where}.title", MAX_FIELD_CHARS)
    for name, value in product.items():
        if value is not None:
            _text(value, f"{where}.{name}", MAX_FIELD_CHARS, may_be_blank=True)


def _check_keys(found: Mapping[str, Any], required: set[str], optional: set[str], where: str) -> None:
    for name in sorted(required):
        if name not in found:
            raise TrafficError(f"{where}: {name}: missing")
    for name in found:
        if name not in required | optional:
            raise TrafficError(f"{where}: {name}: unknown field, expected {', '.join(sorted(required | optional))}")


def _text(value: Any, where: str, max_chars: int, *, may_be_blank: bool = False) -> str:
    if not isinstance(value, str):
        raise TrafficError(f"{where}: expected text, found {_kind(value)}")
    if not may_be_blank and not value.strip():
        raise TrafficError(f"{where}: expected text, found blanks")
    if len(value) > max_chars:
        raise TrafficError(f"{where}: expected at most {max_chars} characters, found {len(value)}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")

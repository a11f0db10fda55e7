"""Reads (query, product) pairs that a user brings to measure int8 ranges on."""

import json
from pathlib import Path

from artifact import PRODUCT_FIELDS

from .errors import ExportError
from .runtime import Pair


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of a JSONL file, one `{"query": text, "product": {field: text or null}}` a line; empty lines are skipped.

    Raises:
        ExportError: naming the file and the line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ExportError(f"{path}: expected pairs to calibrate on: {error.strerror}") from error
    return [_pair(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _pair(line: bytes, where: str) -> Pair:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{where}: expected JSON: {error}") from error
    query = entry.get("query") if isinstance(entry, dict) else None
    if not isinstance(query, str):
        raise ExportError(f'{where}: expected {{"query": text, "product": {{field: text or null}}}}')
    product = entry.get("product")
    if not isinstance(product, dict):
        raise ExportError(f"{where}: expected `product`, an object of fields")
    for field, text in product.items():
        if field not in PRODUCT_FIELDS:
            raise ExportError(f"{where}: expected fields out of {', '.join(PRODUCT_FIELDS)}, found {field!r}")
        if not isinstance(text, str | None):
            raise ExportError(f"{where}: expected text or null in {field}, found {text!r}")
    return query, product

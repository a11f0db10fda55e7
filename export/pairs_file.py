"""Reads (query, product) pairs that a user brings to measure int8 ranges on, and to calibrate scores where judged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from artifact import PRODUCT_FIELDS, Product

from .errors import ExportError
from .runtime import Pair


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of a JSONL file, one `{"query": text, "product": {field: text or null}}` a line; empty lines are skipped.

    Raises:
        ExportError: naming the file and the line.
    """
    return [_pair(entry, where) for entry, where in _entries(path)]


def read_judged(path: Path) -> list[tuple[str, Product, float]]:
    """The same with each line's `target`, in 0 to 1: how relevant the product is. Empty where no line has one.

    Raises:
        ExportError: naming the file and the line; one that has no target too, where others have.
    """
    entries = list(_entries(path))
    if not any(isinstance(entry, dict) and "target" in entry for entry, _ in entries):
        return []
    return [(*_pair(entry, where), _target(entry, where)) for entry, where in entries]


def _entries(path: Path) -> Iterator[tuple[Any, str]]:
    """What stands in each line, and where that is."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ExportError(f"{path}: expected pairs to calibrate on: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            yield json.loads(line), where
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{where}: expected JSON: {error}") from error


def _target(entry: Any, where: str) -> float:
    target = entry.get("target")
    if isinstance(target, bool) or not isinstance(target, int | float) or not 0 <= target <= 1:
        raise ExportError(f"{where}: expected `target`, a number from 0 to 1 as in other lines, found {target!r}")
    return float(target)


def _pair(entry: Any, where: str) -> Pair:
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

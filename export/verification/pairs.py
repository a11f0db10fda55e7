"""The text pairs that artifacts are checked on: made up, or read from JSON lines."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ..errors import ExportError
from ..generator import made_up_pairs
from ..runtime import Pair

PRODUCTS_A_QUERY = 20
FEWEST = 2


class _Line(BaseModel):
    query: str
    product: dict[str, str | None]


class _JudgedLine(_Line):
    target: Annotated[float, Field(ge=0, le=1)]


Line = TypeVar("Line", bound=_Line)


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of a file with a line {"query": ..., "product": {...}} each.

    Raises:
        ExportError: naming the line, or too few of them.
    """
    return [(line.query, line.product) for line in _lines(path, _Line)]


def read_judged(path: Path) -> tuple[list[Pair], list[float]]:
    """Pairs and their targets in 0 to 1, of a file with a line {"query": ..., "product": {...}, "target": ...} each.

    Raises:
        ExportError: naming the line, or too few of them.
    """
    lines = _lines(path, _JudgedLine)
    return [(line.query, line.product) for line in lines], [line.target for line in lines]


def pairs_to_check(count: int, path: Path | None, seed: int) -> list[Pair]:
    """`count` pairs: made up, `PRODUCTS_A_QUERY` to a query, or the file's, whole queries of it in random order.

    Raises:
        ExportError: as `read_pairs`, or `count` is below `FEWEST`.
    """
    if count < FEWEST:
        raise ExportError(f"expected at least {FEWEST} pairs to check on, got {count}")
    if path is None:
        return made_up_pairs(count, seed, PRODUCTS_A_QUERY)
    lists: dict[str, list[Pair]] = {}
    for pair in read_pairs(path):
        lists.setdefault(pair[0], []).append(pair)
    queries = list(lists)
    order = np.random.default_rng(seed).permutation(len(queries)).tolist()
    return [pair for i in order for pair in lists[queries[i]]][:count]


def rows_by_query(pairs: Iterable[Pair]) -> list[list[int]]:
    """Rows of the pairs of each query, for queries with two pairs or more."""
    rows: dict[str, list[int]] = {}
    for row, (query, _) in enumerate(pairs):
        rows.setdefault(query, []).append(row)
    return [found for found in rows.values() if len(found) > 1]


def _lines(path: Path, kind: type[Line]) -> list[Line]:
    found: list[Line] = []
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise ExportError(f"{path}: expected lines of JSON in UTF-8: {error}") from error
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would cut at U+2028 within a title
        if not line.strip():
            continue
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the top"
            raise ExportError(f"{path}, line {number}: at {where}: {first['msg']}") from error
    if len(found) < FEWEST:
        raise ExportError(f"{path}: expected at least {FEWEST} lines, found {len(found)}")
    return found

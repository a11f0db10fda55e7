"""Rows of CSV and JSON lines, plain or gzip: columns of text with line numbers, errors with file and line."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import TrainingError
from .schema import BATCH_ROWS

Batch = tuple[pa.Table, NDArray[np.int64], float]
"""Columns of text, where each row stands in the file from 1, and the share of the file that has been read."""

csv.field_size_limit(1 << 24)


@contextmanager
def opened(path: Path, kind: str) -> Iterator[tuple[IO[str], "Share"]]:
    """Opens a text file, plain or gzip, and turns what goes wrong with it into sentences.

    Args:
        path: .gz is unpacked.
        kind: what was expected, for errors: CSV, JSON lines.

    Raises:
        TrainingError: the file is missing, damaged, or not UTF-8.
    """
    try:
        with path.open("rb") as raw:
            unpacked = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            # utf-8-sig: spreadsheets write a byte order mark before the header
            with io.TextIOWrapper(cast("IO[bytes]", unpacked), encoding="utf-8-sig", newline="") as file:
                yield file, Share(raw, path.stat().st_size)
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file; --data names the folder that holds it") from None
    except UnicodeDecodeError as error:
        raise TrainingError(f"{path}: expected {kind} in UTF-8: {error}; save it as UTF-8") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise TrainingError(f"{path}: expected {kind} in UTF-8 in a whole gzip file: {error}") from error
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror or error}") from error


class Share:
    """How much of a file has been read, by the bytes on disk."""

    def __init__(self, raw: IO[bytes], size: int) -> None:
        self._raw = raw
        self._size = max(1, size)

    def __call__(self) -> float:
        return 1.0 if self._raw.closed else min(1.0, self._raw.tell() / self._size)


def csv_rows(path: Path, delimiter: str) -> Iterator[tuple[list[str], int, list[str], "Share"]]:
    """Yields (header, line number, values, share read) of a CSV file with a header; blank lines are left out.

    Raises:
        TrainingError: as `opened`; or a row is not as long as the header, or a quote is never closed.
    """
    with opened(path, "CSV") as (file, share):
        reader = csv.reader(file, strict=True, delimiter=delimiter)
        line = 0
        try:
            header = next(reader, [])
            line = reader.line_num
            yield header, line, [], share
            for values in reader:
                line = reader.line_num
                if len(values) != len(header):
                    if not values:
                        continue
                    fewer = "fewer" if len(values) < len(header) else "more"
                    raise TrainingError(f"{path}, line {line}: {fewer} values than the header has columns")
                yield header, line, values, share
        except csv.Error as error:
            raise TrainingError(f"{path}, after line {line}: expected CSV in UTF-8: {error}") from error


def read_csv_batches(path: Path, names: list[str], delimiter: str) -> Iterator[Batch]:
    """The columns `names` of a CSV file; of a name `column:key` that is no column, the column of JSON.

    Raises:
        TrainingError: as `csv_rows`; or a column is missing.
    """
    rows = csv_rows(path, delimiter)
    header, _, _, share = next(rows)
    columns = base_columns(path, names, header, delimiter)
    picks = [header.index(name) for name in columns]
    values: list[list[str]] = []
    lines: list[int] = []

    def batch() -> Batch:
        by_column = list(zip(*values, strict=True))
        table = pa.table({name: pa.array(by_column[i], pa.string()) for name, i in zip(columns, picks, strict=True)})
        return table, np.asarray(lines, np.int64), share()

    for _, line, row, _ in rows:
        values.append(row)
        lines.append(line)
        if len(values) == BATCH_ROWS:
            yield batch()
            values, lines = [], []
    if values:
        yield batch()


def base_columns(path: Path, names: Collection[str], found: Collection[str], delimiter: str = "") -> list[str]:
    """The columns to read for `names`, each once; `column:key` reads `column` unless it is a column itself.

    Raises:
        TrainingError: some are not among those found.
    """
    base = list(dict.fromkeys(name if name in found else name.partition(":")[0] for name in names))
    missing = {name for name in base if name not in found}
    if missing:
        between = {",": "commas", "\t": "tabs"}.get(delimiter, repr(delimiter))
        hint = f"; values are separated by {between}" if len(found) == 1 and delimiter else ""
        raise TrainingError(f"{path}: expected columns {sorted(missing)}, found {list(found)}{hint}")
    return base


def read_jsonl_batches(path: Path, names: list[str], needed: Collection[str]) -> Iterator[Batch]:
    """The keys `names` of a file with one JSON object a line; of a name `column:key`, the object under `column`.

    Raises:
        TrainingError: as `opened`; a line is no JSON object or holds a list where text is expected; no line has one of
            the keys, or none of the first batch has one of those `needed`.
    """
    seen: set[str] = set()
    plain = {name.partition(":")[0] if ":" in name else name for name in names}
    objects = {name.partition(":")[0] for name in names if ":" in name}

    def batch() -> Batch:
        seen.update(*rows)
        missing = sorted({name.partition(":")[0] for name in needed} - seen)
        if missing:
            raise TrainingError(f"{path}: expected columns {missing}, found {sorted(seen)}")
        table = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in sorted(plain)}
        return pa.table(table), np.asarray(lines, np.int64), share()

    with opened(path, "JSON lines") as (file, share):
        rows: list[dict[str, str | None]] = []
        lines: list[int] = []
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            rows.append(_object(path, line, text, plain, objects))
            lines.append(line)
            if len(rows) == BATCH_ROWS:
                yield batch()
                rows, lines = [], []
        if rows:
            yield batch()
    if missing := sorted(plain - seen):
        raise TrainingError(f"{path}: expected columns {missing}, found {sorted(seen)}")


_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")


def is_cut(value: object) -> bool:
    """Whether a JSON value holds half a character, which no file of ours could."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _object(path: Path, line: int, text: str, plain: set[str], objects: set[str]) -> dict[str, str | None]:
    try:
        content = json.loads(text, parse_int=str, parse_float=str)
    except ValueError as error:
        raise TrainingError(f"{path}, line {line}: expected a JSON object: {error}") from error
    if not isinstance(content, dict):
        raise TrainingError(f"{path}, line {line}: expected a JSON object, found {text.strip()[:60]!r}")
    if _HALF_CHARACTER.search(text) and any(map(is_cut, content.values())):
        raise TrainingError(f"{path}, line {line}: holds half a character (a lone surrogate, \\ud800 to \\udfff)")
    row: dict[str, str | None] = {}
    for name, value in content.items():
        if name not in plain or value is None or isinstance(value, str):
            row[name] = value if name in plain else None
        elif isinstance(value, dict | list) and name not in objects:
            raise TrainingError(f"{path}, line {line}: expected text in {name}, found {json.dumps(value)[:60]}")
        else:
            row[name] = json.dumps(value)
    return row

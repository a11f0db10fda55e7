"""Reads audit files, request by request, without ever holding a whole one."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from pydantic import ValidationError

from artifact.audited import AUDIT_PREFIX, AUDIT_SUFFIX, AuditedPair

from ..errors import TrainingError

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Far above what the service writes: what has no line breaks is no audit file, and must not fill the memory."""

OnBadLine = Callable[[str], None]
"""Told what is wrong with a line, and where; it raises where that is to be the end."""


def audit_files(paths: Sequence[Path]) -> list[Path]:
    """The files that are named, and of each folder the finished audit files, in order of their names, each once.

    Raises:
        TrainingError: there is no such file, or a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.glob(f"{AUDIT_PREFIX}*{AUDIT_SUFFIX}"))
            if not inside:
                raise TrainingError(f"{path}: holds no finished audit file, {AUDIT_PREFIX}*{AUDIT_SUFFIX}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise TrainingError(f"{path}: no such file or folder")
    return list(dict.fromkeys(found))


def refuse_bad_line(problem: str) -> None:
    """Raises TrainingError."""
    raise TrainingError(f"{problem}; --skip-bad-lines leaves such lines out and counts them")


def requests_in(path: Path, on_bad_line: OnBadLine = refuse_bad_line) -> Iterator[list[AuditedPair]]:
    """The pairs of each request of a file, plain or gzipped, in order.

    Raises:
        TrainingError: the file cannot be read, or is cut short.
    """
    pairs = _pairs(path, on_bad_line)
    for _, same in groupby(pairs, key=lambda pair: (pair.request_id, pair.time, pair.model, pair.version, pair.query)):
        yield list(same)


def _pairs(path: Path, on_bad_line: OnBadLine) -> Iterator[AuditedPair]:
    for number, line in enumerate(_lines(path), 1):
        if len(line) > MAX_LINE_BYTES:
            raise TrainingError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes: this is no audit file")
        try:
            yield AuditedPair.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            on_bad_line(
                f"{path}, line {number}: expected a pair as JSON: {where + ': ' if where else ''}{first['msg']}"
            )


def _lines(path: Path) -> Iterable[bytes]:
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if gzipped else path.open("rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                yield line
    except EOFError as error:
        raise TrainingError(f"{path}: cut short, or still being written: only finished files are whole") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise TrainingError(f"{path}: damaged: {error}") from error
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror or error}") from error

"""Writes a states file, record after record; what a kill or a full disk interrupts goes on from the last whole record.

Not for the service, which only reads. Needs a system with file locks (fcntl).
"""

import fcntl
import os
import zlib
from array import array
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from .errors import StatesError
from .product_states import ProductState
from .states_format import (
    FOOTER_BYTES,
    HEADER_BYTES,
    INDEX_ENTRY_BYTES,
    RECORD_HEAD_BYTES,
    BrokenError,
    RecordFormat,
    StatesFooter,
    StatesHeader,
    prefixes_of,
    to_index,
)

PARTIAL_SUFFIX = ".partial"


class StatesWriter:
    """Appends records to PATH.partial and, at the end, makes PATH of it. One process at a time; a kill frees the lock.

    Memory: 16 bytes for each record, and in `kept` one key for each that was there before.

    Args:
        path: the states file; one that stands there is replaced at the end, not before.
        header: whose states are written.

    Attributes:
        kept: keys of the whole records that an earlier writer left.
        cut_bytes: what was cut off behind them.
        products: records so far.

    Raises:
        StatesError: another process is writing the file, or what an earlier one left holds other states.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: Path, header: StatesHeader) -> None:
        self.path = path
        self.partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self.kept: set[bytes] = set()
        self.cut_bytes = 0
        self._finished = False
        self._format = RecordFormat(header.layout)
        self._prefixes, self._offsets = array("Q"), array("Q")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _open_locked(self.partial)
        try:
            self._end = self._resume(header)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def products(self) -> int:
        """Records so far, kept ones included."""
        return len(self._offsets)

    def append(self, states: Iterable[tuple[bytes, ProductState]]) -> None:
        """Adds records of products that have none yet, in this order.

        Raises:
            ValueError: a state is not of the header's layout.
            OSError: the disk is full. What was written before stays, for another writer to go on from.
        """
        records = [(key, self._format.write(key, state)) for key, state in states]
        _write(self._file, b"".join(record for _, record in records))
        for key, record in records:
            self._note(key, len(record))

    def finish(self) -> int:
        """Writes index and footer, makes sure that all is on the disk, and puts the file in place.

        Returns:
            The file's size in bytes.

        Raises:
            OSError: the disk is full; a file that stood there before stays.
        """
        columns = to_index(np.array(self._prefixes, np.uint64), np.array(self._offsets, np.uint64))
        crc = zlib.crc32(columns[1], zlib.crc32(columns[0]))
        size = self._end + self.products * INDEX_ENTRY_BYTES + FOOTER_BYTES
        for part in (*columns, StatesFooter(self.products, self._end, size, crc).to_bytes()):
            _write(self._file, part)
        os.fsync(self._file)
        self.partial.rename(self.path)
        self._finished = True
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return size

    def close(self) -> None:
        """Lets go of the file; records that are not finished stay for the next writer."""
        if self._file >= 0:
            if not self.products and not self._finished:
                self.partial.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _note(self, key: bytes, size: int) -> None:
        self._prefixes.append(int(prefixes_of(key)[0]))
        self._offsets.append(self._end)
        self._end += size

    def _resume(self, header: StatesHeader) -> int:
        """Keeps whole records, cuts off the rest; returns where the next one goes."""
        size = os.fstat(self._file).st_size
        self._end = HEADER_BYTES
        if size < HEADER_BYTES:
            os.ftruncate(self._file, 0)
            _write(self._file, header.to_bytes())
            return HEADER_BYTES
        try:
            found = StatesHeader.from_bytes(os.pread(self._file, HEADER_BYTES, 0))
        except BrokenError as error:
            raise StatesError(self.partial, f"{error}; delete it to start anew") from None
        if (found.states_version, found.layout) != (header.states_version, header.layout):
            raise StatesError(
                self.partial,
                f"expected the unfinished states of version {header.states_version}, found those of "
                f"{found.states_version} ({found.artifact}); finish them with that artifact, or delete the file",
            )
        with os.fdopen(os.dup(self._file), "rb", buffering=1 << 20) as file:
            file.seek(HEADER_BYTES)
            while (record := self._read_record(file, size)) is not None:
                key, length = record
                self._note(key, length)
                self.kept.add(key)
        self.cut_bytes = size - self._end
        os.ftruncate(self._file, self._end)
        os.lseek(self._file, self._end, os.SEEK_SET)
        return self._end

    def _read_record(self, file: IO[bytes], size: int) -> tuple[bytes, int] | None:
        """Key and length of the record that the file stands at; None where no whole and sound one is."""
        head = file.read(RECORD_HEAD_BYTES)
        if len(head) < RECORD_HEAD_BYTES:
            return None
        length = self._format.size_at(head)
        if self._end + length > size:
            return None
        key = self._format.sound_key(head + file.read(length - RECORD_HEAD_BYTES))
        return None if key is None else (key, length)


def _open_locked(path: Path) -> int:
    """Opens a file for this process alone, made where there is none.

    Raises:
        StatesError: another process has it.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            os.close(file)
            raise StatesError(path, "another process is writing it; wait until that is done, or stop it") from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its writer finished, and renamed it, between our opening and our lock


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _write(file: int, content: bytes) -> None:
    """All of it: a disk that is nearly full takes a part first."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]

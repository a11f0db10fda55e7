"""Reads a states file: the states of a catalogue's products, computed ahead and shared by all replicas of a node."""

import mmap
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .errors import StatesError
from .manifest import StateLayout
from .product_states import ProductState
from .states_format import (
    FOOTER_BYTES,
    HEADER_BYTES,
    RECORD_HEAD_BYTES,
    BrokenError,
    OtherStatesError,
    RecordFormat,
    StatesFooter,
    StatesHeader,
    prefixes_of,
)

SUFFIX = ".states"

MISSING, UNREADABLE = "missing", "unreadable"
"""Reasons of a StatesError."""

_CHUNK_BYTES = 1 << 20


def states_path(folder: Path, states_version: str) -> Path:
    """Where a folder keeps the states of a version."""
    return folder / f"{states_version}{SUFFIX}"


class StatesFile:
    """A states file, mapped into memory: its pages are the page cache's, which all processes of a node share.

    Safe to use from several threads. A file is replaced by renaming another one over it, never changed in place:
    whoever has it open keeps reading the one that was opened. Before each lookup its size is checked, so that a file
    that lost its end is skipped; if it loses it between that check and the reading of a state, or while somebody still
    reads a state that was returned, the kernel kills the process (SIGBUS), and nothing here can prevent it.

    Attributes:
        header: whose states these are.
        products: how many it holds.
        file_bytes: its size.
        corrupted: lookups so far that met a damaged record, or a file that lost its end.
    """

    def __init__(self, path: Path, file: int, header: StatesHeader, footer: StatesFooter) -> None:
        """For `open`, which checks everything first."""
        self.path = path
        self.header = header
        self.products = footer.products
        self.file_bytes = footer.file_bytes
        self.corrupted = 0
        self._lock = threading.Lock()
        self._file = file
        self._records_end = footer.index_offset
        self._format = RecordFormat(header.layout)
        self._map = mmap.mmap(file, footer.file_bytes, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        self._prefixes, self._offsets = np.ndarray((2, footer.products), "<u8", self._map, footer.index_offset)

    @classmethod
    def open(cls, path: Path, states_version: str, layout: StateLayout) -> "StatesFile":
        """Opens a file that must hold the states of this version; reads its index once, to check it.

        Raises:
            StatesError: it is not there, holds other states, or is not as it was written: header, size, index.
        """
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            reason = MISSING if isinstance(error, FileNotFoundError) else UNREADABLE
            raise StatesError(path, f"cannot be opened: {error.strerror}", reason) from error
        try:
            header, footer = _check(path, file, states_version, layout)
            return cls(path, file, header, footer)
        except (OSError, ValueError) as error:  # of the mapping: no memory for it, or a file that shrank meanwhile
            os.close(file)
            raise StatesError(path, f"cannot be mapped: {error}", UNREADABLE) from error
        except BaseException:
            os.close(file)
            raise

    def get_many(self, keys: Sequence[bytes]) -> list[ProductState | None]:
        """The state of each key: views into the mapping, or None where the file has none that is sound.

        Args:
            keys: of KEY_BYTES each, as `product_states.state_key` makes them.

        Raises:
            ValueError: the file is closed.
        """
        if self._file < 0:
            raise ValueError(f"{self.path} is closed")
        if os.fstat(self._file).st_size != self.file_bytes:
            self._count_corrupted(len(keys))
            return [None] * len(keys)
        if not self.products:
            return [None] * len(keys)
        prefixes = prefixes_of(b"".join(keys))
        places = np.searchsorted(self._prefixes, prefixes).tolist()
        return [self._find(*each) for each in zip(keys, prefixes.tolist(), places, strict=True)]

    def close(self) -> None:
        """Lets go of the file; states that were returned stay readable, and the mapping goes with the last of them."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        # Not unmapped by hand: an array made on a buffer keeps the mapping's object alive, but does not keep it open.
        del self._prefixes, self._offsets, self._view, self._map

    def _find(self, key: bytes, prefix: int, place: int) -> ProductState | None:
        """The state of a key, if it is among the records whose keys begin as it does, from `place` of the index on."""
        damaged = False
        while place < self.products and self._prefixes[place] == prefix:
            offset = int(self._offsets[place])
            found = self._sound_key(offset)
            if found == key:
                return self._format.state_at(self._map, offset)
            damaged = damaged or found is None
            place += 1
        if damaged:
            self._count_corrupted(1)
        return None

    def _sound_key(self, offset: int) -> bytes | None:
        end = offset + RECORD_HEAD_BYTES
        if end > self._records_end:
            return None
        end = offset + self._format.size_at(self._view[offset:end])
        return self._format.sound_key(self._view[offset:end]) if end <= self._records_end else None

    def _count_corrupted(self, lookups: int) -> None:
        with self._lock:
            self.corrupted += lookups


def _check(path: Path, file: int, states_version: str, layout: StateLayout) -> tuple[StatesHeader, StatesFooter]:
    """Reads header, footer and index by pread: a file that shrinks meanwhile gives an error, not a signal."""
    size = os.fstat(file).st_size
    again = "make it again with python -m export states"
    try:
        header = StatesHeader.from_bytes(os.pread(file, HEADER_BYTES, 0))
        if header.states_version != states_version:
            raise OtherStatesError(
                f"expected the states of version {states_version}, found those of {header.states_version} "
                f"({header.artifact})"
            )
        if header.layout != layout:
            raise OtherStatesError(f"expected states of {_shown(layout)}, found {_shown(header.layout)}")
        footer = StatesFooter.from_bytes(os.pread(file, FOOTER_BYTES, max(0, size - FOOTER_BYTES)), size)
        if _crc_of(file, footer.index_offset, size - FOOTER_BYTES) != footer.index_crc:
            raise BrokenError("its index is damaged")
    except BrokenError as error:
        raise StatesError(path, f"{error}; {again}", error.reason) from None
    except OSError as error:
        raise StatesError(path, f"cannot be read: {error.strerror}", "unreadable") from error
    return header, footer


def _crc_of(file: int, start: int, end: int) -> int:
    crc = 0
    while start < end:
        chunk = os.pread(file, min(_CHUNK_BYTES, end - start), start)
        if not chunk:
            break
        crc = zlib.crc32(chunk, crc)
        start += len(chunk)
    return crc


def _shown(layout: StateLayout) -> str:
    return f"{layout.precision}, {layout.width} wide, pooled {layout.pooled_width}"

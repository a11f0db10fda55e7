"""Gzipped files in a folder that other replicas may share, of a bounded size together.

A file has its final name once it is finished, and never changes after that. Until then its name ends in `.part`, and
its writer holds a lock on it, which a kill frees: whoever finds such a file without its writer finishes it, up to the
last block that is whole. Each block is a gzip member of whole lines, so that no finished file holds half a line.
"""

import errno
import fcntl
import gzip
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from zlib import MAX_WBITS, decompressobj
from zlib import error as ZlibError  # noqa: N812 - it is an exception

from artifact.audited import AUDIT_PREFIX, AUDIT_SUFFIX

PART_SUFFIX = AUDIT_SUFFIX + ".part"
FILES_OF_BOUND = 16
"""A file is finished at such a part of the bound, so that the oldest can go one by one."""

MAX_AGE_S = 600.0
"""A file is finished after so long, so that what was scored can be looked at."""

COMPRESSION = 4
GZIP_WINDOW_BITS = 16 + MAX_WBITS
READ_BYTES = 64 * 1024


class AuditFiles:
    """Belongs to one thread.

    Args:
        folder: exists.
        max_bytes: of all audit files in it; the oldest finished ones are removed to make room.
        clock: monotonic, in seconds.
        wall_clock: seconds since 1970; files are named by it.
    """

    def __init__(
        self, folder: Path, max_bytes: int, clock: Callable[[], float], wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._wall_clock = wall_clock
        self._part: Path | None = None
        self._descriptor = -1
        self._bytes = 0
        self._opened = 0.0

    def write(self, lines: bytes) -> None:
        """Adds whole lines to the file, all of them or none.

        Raises:
            OSError: the disk is full or gone, or the bound leaves no room.
        """
        block = gzip.compress(lines, COMPRESSION, mtime=0)
        if self._part is None:
            # First, for what a killed writer left behind may be what fills the folder.
            self._finish_orphans()
        try:
            self._make_room(len(block))
        except OSError:
            if self._part is None:
                raise
            # Many writers may fill the bound with files that none has finished, and none may remove.
            self.finish()
            self._make_room(len(block))
        if self._part is None:
            self._open()
        try:
            self._append(block)
        except OSError:
            self._cut_back()
            raise
        self._bytes += len(block)
        if self._bytes >= self._max_bytes // FILES_OF_BOUND:
            self.finish()

    def finish_if_due(self) -> None:
        """Finishes the file if it has been open for long. Raises OSError."""
        if self._part is not None and self._clock() - self._opened >= MAX_AGE_S:
            self.finish()

    def finish(self) -> None:
        """Gives the file its final name, if there is one. Raises OSError."""
        if self._part is None:
            return
        part, self._part = self._part, None
        descriptor, self._descriptor = self._descriptor, -1
        _finish(part, descriptor, self._bytes)

    def _open(self) -> None:
        now = datetime.fromtimestamp(self._wall_clock(), UTC)
        # The time orders the files; what follows it nobody else will come to.
        name = f"{AUDIT_PREFIX}{now:%Y%m%dT%H%M%S.%fZ}-{os.urandom(6).hex()}{PART_SUFFIX}"
        self._descriptor = _create(self._folder / name)
        self._part, self._bytes, self._opened = self._folder / name, 0, self._clock()

    def _cut_back(self) -> None:
        """Takes off what of a block came through: it would be half a line."""
        try:
            os.ftruncate(self._descriptor, self._bytes)
        except OSError:
            # Whoever finds it without its writer does so.
            self._part = None
            os.close(self._descriptor)

    def _append(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def _make_room(self, wanted_bytes: int) -> None:
        files = sorted(self._files(), key=lambda file: file[0].name)
        total_bytes = sum(size for _, size in files)
        for path, size in files:
            if total_bytes + wanted_bytes <= self._max_bytes:
                return
            if path.name.endswith(AUDIT_SUFFIX):
                path.unlink(missing_ok=True)
                total_bytes -= size
        if total_bytes + wanted_bytes > self._max_bytes:
            raise OSError(errno.EDQUOT, "no room within audit_bytes", str(self._folder))

    def _files(self) -> Iterator[tuple[Path, int]]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(AUDIT_PREFIX) and entry.name.endswith((AUDIT_SUFFIX, PART_SUFFIX)):
                    # Another replica may have removed or renamed it meanwhile.
                    with suppress(FileNotFoundError):
                        yield Path(entry.path), entry.stat().st_size

    def _finish_orphans(self) -> None:
        for path, _ in list(self._files()):
            if path.name.endswith(PART_SUFFIX):
                # Not ours to read, or gone: it stays, and counts.
                with suppress(OSError):
                    _finish_orphan(path)


def _create(path: Path) -> int:
    """Makes a file, and locks it. Raises OSError, also where another process took it for an orphan in between."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(descriptor).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "removed by another process", str(path))
    except OSError:
        # Where files cannot be locked, each try would leave one.
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor


def whole_bytes(descriptor: int) -> int:
    """Length of the beginning of a file that consists of whole gzip members."""
    whole = read = 0
    member = decompressobj(GZIP_WINDOW_BITS)
    while data := os.pread(descriptor, READ_BYTES, read):
        read += len(data)
        while data:
            try:
                member.decompress(data)
            except ZlibError:
                return whole
            data = member.unused_data
            if not member.eof:
                break
            whole = read - len(data)
            member = decompressobj(GZIP_WINDOW_BITS)
    return whole


def _finish_orphan(part: Path) -> None:
    descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            size = whole_bytes(descriptor)
            os.ftruncate(descriptor, size)
            _finish(part, os.dup(descriptor), size)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _finish(part: Path, descriptor: int, size: int) -> None:
    """Renames a locked file, or removes it if it is empty; closes the descriptor, and with it ends the lock."""
    try:
        if size:
            os.fsync(descriptor)
            part.replace(part.with_name(part.name.removesuffix(PART_SUFFIX) + AUDIT_SUFFIX))
        else:
            part.unlink()
    finally:
        os.close(descriptor)

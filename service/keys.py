"""The keys that open the service, and their replacement while it runs.

Keys come from the settings, which stand, and from a file with one key a line, which is read again when it changes.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Collection
from hmac import compare_digest
from pathlib import Path

log = logging.getLogger(__name__)

CHECK_S = 1.0
"""How often, at most, the file is looked at."""


class KeysFileError(ValueError):
    """The file of keys holds none, or one that no header could carry."""


class Keys:
    """Knows the accepted keys. What is wrong with the file leaves those that were read last, and is logged.

    Args:
        fixed: keys that stand.
        path: of the file with others, or None.
        clock: monotonic, in seconds.

    Raises:
        OSError, KeysFileError: the file cannot be used at the start.
    """

    def __init__(self, fixed: Collection[str], path: Path | None, clock: Callable[[], float]) -> None:
        self._fixed = [_digest(key.encode()) for key in fixed]
        self._path = path
        self._clock = clock
        self._checked_at = clock()
        self._signature = _signature(path)
        self._digests = [*self._fixed, *_read(path)]

    @property
    def needed(self) -> bool:
        """Whether a request needs a key at all."""
        return bool(self._digests)

    def accept(self, given: bytes) -> bool:
        """Whether this is one of the keys.

        All keys are compared, and by digests of one length: the time taken says neither which came close nor how long
        they are.
        """
        self._check_file()
        digest = _digest(given)
        matches = [compare_digest(digest, key) for key in self._digests]
        return any(matches)

    def reload(self) -> None:
        """Reads the file, changed or not."""
        if self._path is None:
            return
        self._signature = _signature(self._path)
        try:
            self._digests = [*self._fixed, *_read(self._path)]
        except (OSError, KeysFileError) as error:
            log.error("the keys stay as they were: %s", error)
        else:
            log.info("read keys", extra={"fields": {"file": str(self._path), "keys": len(self._digests)}})

    def _check_file(self) -> None:
        now = self._clock()
        if self._path is None or now - self._checked_at < CHECK_S:
            return
        self._checked_at = now
        if _signature(self._path) != self._signature:
            self.reload()


def read_keys(path: Path) -> list[str]:
    """The keys in a file: its lines, without the space around them; blank ones are none.

    Raises:
        OSError: it cannot be read.
        KeysFileError: it holds no key, or one that is not printable ASCII.
    """
    lines = path.read_bytes().splitlines()
    keys = [stripped for line in lines if (stripped := line.strip())]
    if not keys:
        raise KeysFileError(f"{path}: expected one key a line, found none")
    texts = [key.decode("latin-1") for key in keys]
    if not all(is_key(text) for text in texts):
        raise KeysFileError(f"{path}: expected keys of printable ASCII characters alone")
    return texts


def is_key(text: str) -> bool:
    """Whether a header carries it safely."""
    return bool(text) and text.isascii() and text.isprintable()


def _read(path: Path | None) -> list[bytes]:
    return [_digest(key.encode()) for key in read_keys(path)] if path is not None else []


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _signature(path: Path | None) -> tuple[int, ...] | None:
    """What changes when the file does; None for no file."""
    if path is None:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

"""Vectors of all products of a pool on disk, as float16: made once, in parts, and mapped into memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..teacher.similarity import SentenceEncoder

PART = 1024


def vectors_on_disk(
    path: Path, batches: Iterator[list[str]], count: int, encoder: SentenceEncoder
) -> NDArray[np.float16]:
    """Unit vectors, shape (count, width), read-only and mapped from `path`, which is completed first.

    Args:
        path: the file; of one that a kill left unfinished, whole parts are kept and not encoded again.
        batches: all texts in order, in lists of `PART`.
        count: how many texts there are.
        encoder: of the texts.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    width = encoder.vectors(["a"]).shape[1]
    row_bytes = width * np.dtype(np.float16).itemsize
    present = path.stat().st_size // row_bytes if path.exists() else 0
    if present < count:
        whole_parts = present // PART
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(whole_parts * PART * row_bytes)
            for part, texts in enumerate(batches):
                if part >= whole_parts:
                    file.write(encoder.vectors(texts).astype(np.float16).tobytes())
                    # a part counts once it is on disk: what follows relies on the file's size
                    file.flush()
                    os.fsync(file.fileno())
    return np.memmap(path, np.float16, "r", shape=(count, width))

"""The bytes of a states file: header, records, index, footer. All numbers are little-endian.

    header   HEADER_BYTES: magic, format version, whose states these are and their layout as JSON, CRC-32
    records  one after another, each a multiple of 8 bytes, so that numpy reads the index without a copy:
             CRC-32 of what follows in it, tokens (uint32), key (16 bytes), scales, scale of the pooled vector,
             states of the tokens, pooled vector, zeros up to a multiple of 8
    index    the first 8 bytes of every key as a number, ascending, then where each key's record begins (uint64 both)
    footer   FOOTER_BYTES: magic, products, where the index begins, size of the file, CRC-32 of the index, CRC-32

A file is only ever appended to: what was written so far needs no change when it is finished, and a writer that is
killed leaves a header and whole records before at most one torn one. `states_file` reads, `states_writer` writes.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .manifest import StateLayout
from .product_states import KEY_BYTES, ProductState

FORMAT_VERSION = 1
HEADER_BYTES = 4096
INDEX_ENTRY_BYTES = 16

_MAGIC = b"SHELFSTA"
_END_MAGIC = b"ATSFLEHS"
_PREAMBLE = struct.Struct("<8sII")
_CRC = struct.Struct("<I")
_FOOTER = struct.Struct("<8sQQQI")
_RECORD = struct.Struct(f"<II{KEY_BYTES}s")
_POOLED_SCALE = struct.Struct("<f")

FOOTER_BYTES = _FOOTER.size + _CRC.size
RECORD_HEAD_BYTES = _RECORD.size

_LONGEST_NAME = 200
"""Characters of a name that the header has room for, whatever they are."""


class BrokenError(ValueError):
    """Bytes that are not what they should be; whoever read them knows the file's name."""

    reason = "damaged"


class OtherStatesError(BrokenError):
    """Sound bytes, of other states than those that were asked for."""

    reason = "other_states"


@dataclass(frozen=True, slots=True)
class StatesHeader:
    """Whose states a file holds.

    Attributes:
        states_version: see `product_states.states_version`.
        layout: precision and widths.
        artifact: name and version of the artifact that the file was first made with, for people.
    """

    states_version: str
    layout: StateLayout
    artifact: str

    def to_bytes(self) -> bytes:
        """HEADER_BYTES."""
        contents = {
            "states_version": self.states_version,
            "artifact": self.artifact[:_LONGEST_NAME],
            "layout": self.layout.model_dump(),
        }
        text = json.dumps(contents).encode()
        block = (_PREAMBLE.pack(_MAGIC, FORMAT_VERSION, len(text)) + text).ljust(HEADER_BYTES - _CRC.size, b"\0")
        return block + _CRC.pack(zlib.crc32(block))

    @classmethod
    def from_bytes(cls, block: bytes) -> Self:
        """Reads it.

        Raises:
            BrokenError: saying what was expected.
        """
        if len(block) < HEADER_BYTES or not block.startswith(_MAGIC):
            raise BrokenError("expected a file of product states, found something else")
        _, version, length = _PREAMBLE.unpack_from(block)
        (crc,) = _CRC.unpack_from(block, HEADER_BYTES - _CRC.size)
        if crc != zlib.crc32(block[: HEADER_BYTES - _CRC.size]):
            raise BrokenError("its header is damaged")
        if version != FORMAT_VERSION:
            raise BrokenError(f"expected format {FORMAT_VERSION}, found {version}")
        contents = json.loads(block[_PREAMBLE.size : _PREAMBLE.size + length])
        return cls(
            contents["states_version"], StateLayout.model_validate(contents["layout"]), artifact=contents["artifact"]
        )


@dataclass(frozen=True, slots=True)
class StatesFooter:
    """What stands where in a finished file, in bytes from its start."""

    products: int
    index_offset: int
    file_bytes: int
    index_crc: int

    def to_bytes(self) -> bytes:
        """FOOTER_BYTES."""
        block = _FOOTER.pack(_END_MAGIC, self.products, self.index_offset, self.file_bytes, self.index_crc)
        return block + _CRC.pack(zlib.crc32(block))

    @classmethod
    def from_bytes(cls, block: bytes, file_bytes: int) -> Self:
        """Reads the end of a file of so many bytes.

        Raises:
            BrokenError: it is no footer, or that of a file of another size.
        """
        footer = block[: _FOOTER.size]
        if not block.startswith(_END_MAGIC) or block[_FOOTER.size :] != _CRC.pack(zlib.crc32(footer)):
            raise BrokenError("its end is not the end of a finished file: it was cut short, lengthened or damaged")
        found = cls(*_FOOTER.unpack(footer)[1:])
        index_bytes = found.products * INDEX_ENTRY_BYTES
        if found.file_bytes != file_bytes or found.index_offset + index_bytes + FOOTER_BYTES != file_bytes:
            raise BrokenError(f"expected {found.file_bytes} bytes, found {file_bytes}")
        return found


class RecordFormat:
    """Writes and reads records of one layout."""

    def __init__(self, layout: StateLayout) -> None:
        self.dtype: np.dtype[Any] = np.dtype("u1" if layout.precision == "int8" else "<f4")
        self.width, self.pooled_width = layout.width, layout.pooled_width
        self._token_bytes = 4 + layout.width * self.dtype.itemsize
        self._fixed_bytes = _RECORD.size + _POOLED_SCALE.size + layout.pooled_width * self.dtype.itemsize

    def size(self, tokens: int) -> int:
        """Bytes of the record of a product of so many tokens."""
        return -(-(self._fixed_bytes + tokens * self._token_bytes) // 8) * 8

    def write(self, key: bytes, state: ProductState) -> bytes:
        """The record of a product.

        Raises:
            ValueError: key or state have another shape or type than the layout says.
        """
        tokens = len(state.tokens)
        shapes = (state.tokens.shape, state.scales.shape, state.pooled.shape)
        types = (state.tokens.dtype, state.scales.dtype, state.pooled.dtype)
        expected = ((tokens, self.width), (tokens,), (self.pooled_width,))
        if len(key) != KEY_BYTES or shapes != expected or types != (self.dtype, np.dtype("<f4"), self.dtype):
            raise ValueError(
                f"expected a key and a state of shapes {expected} of {self.dtype}, found {shapes}, {types}"
            )
        content = b"".join(
            (
                _RECORD.pack(0, tokens, key)[_CRC.size :],
                state.scales.tobytes(),
                _POOLED_SCALE.pack(state.pooled_scale),
                state.tokens.tobytes(),
                state.pooled.tobytes(),
            )
        ).ljust(self.size(tokens) - _CRC.size, b"\0")
        return _CRC.pack(zlib.crc32(content)) + content

    def size_at(self, head: bytes | memoryview) -> int:
        """Bytes of the record that begins with these RECORD_HEAD_BYTES, if they are sound."""
        return self.size(_RECORD.unpack(head)[1])

    def sound_key(self, record: bytes | memoryview) -> bytes | None:
        """The key of a record of the right size; None where its CRC is not that of its content."""
        crc, _, key = _RECORD.unpack_from(record)
        return key if crc == zlib.crc32(record[_CRC.size :]) else None

    def state_at(self, buffer: Any, offset: int) -> ProductState:
        """The state in the sound record at an offset of a buffer: views into it."""
        (tokens,) = _CRC.unpack_from(buffer, offset + _CRC.size)
        scales_at = offset + _RECORD.size
        pooled_scale_at = scales_at + 4 * tokens
        tokens_at = pooled_scale_at + _POOLED_SCALE.size
        pooled_at = tokens_at + tokens * self.width * self.dtype.itemsize
        scales: NDArray[np.float32] = np.ndarray((tokens,), "<f4", buffer, scales_at)
        return ProductState(
            np.ndarray((tokens, self.width), self.dtype, buffer, tokens_at),
            scales,
            np.ndarray((self.pooled_width,), self.dtype, buffer, pooled_at),
            _POOLED_SCALE.unpack_from(buffer, pooled_scale_at)[0],
        )


def to_index(prefixes: NDArray[np.uint64], offsets: NDArray[np.uint64]) -> tuple[bytes, bytes]:
    """The two columns of the index, for records in file order."""
    order = np.argsort(prefixes, kind="stable")
    return prefixes[order].astype("<u8").tobytes(), offsets[order].astype("<u8").tobytes()


def prefixes_of(keys: bytes) -> NDArray[np.uint64]:
    """The first 8 bytes of each of the keys, joined, as numbers in their order."""
    return np.frombuffer(keys, ">u8")[:: KEY_BYTES // 8].astype(np.uint64)

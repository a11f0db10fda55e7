"""Refuses an ONNX file that keeps tensors in other files, without the onnx package.

The manifest's hashes cover no such file, and its path may lead anywhere. The walk follows the protobuf fields that can
hold a tensor, skips all others unread, and takes a doubtful field for external data rather than not.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path

from .errors import ArtifactError

TENSOR = "TensorProto"
EXTERNAL_DATA, DATA_LOCATION = 13, 14
FIELDS: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: TENSOR, 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: TENSOR,
        6: "GraphProto",
        10: TENSOR,
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: TENSOR, 2: TENSOR},
    TENSOR: {},
}
"""Message -> number of each field under which tensors stand -> the message there. Source: onnx.proto of ONNX 1.23."""

VARINT, EIGHT_BYTES, COUNTED, GROUP_START, GROUP_END, FOUR_BYTES = range(6)
LONGEST_VARINT = 10


class _MalformedError(Exception):
    """No protobuf message."""


def check_self_contained(path: Path) -> None:
    """Refuses an ONNX file with external data. One that is no ONNX file has none: the runtime refuses it.

    Raises:
        ArtifactError: a tensor stands in another file, wherever that is.
    """
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            external = _has_external_data(data)
        except _MalformedError:
            return
    if external:
        raise ArtifactError(
            path,
            "expected all weights inside this file, found a tensor kept in another one (external data), which no hash "
            "of the manifest covers: export it with its weights inside",
        )


def _has_external_data(data: mmap.mmap) -> bool:
    waiting = [("ModelProto", 0, len(data))]
    while waiting:
        message, at, end = waiting.pop()
        while at < end:
            tag, at = _varint(data, at, end)
            number, wire = (tag & 0xFFFFFFFF) >> 3, tag & 7
            value, start = 0, at
            if wire in (VARINT, COUNTED):
                value, start = _varint(data, at, end)
                at = start
            if wire == COUNTED:
                at = start + value
            elif wire in (EIGHT_BYTES, FOUR_BYTES):
                at += 8 if wire == EIGHT_BYTES else 4
            elif wire > FOUR_BYTES:
                raise _MalformedError
            if at > end:
                raise _MalformedError
            if message == TENSOR and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
                return True
            if wire == COUNTED and (inner := FIELDS[message].get(number)):
                waiting.append((inner, start, at))
    return False


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """The number that begins at `at`, and where the next field begins."""
    value = 0
    for i in range(LONGEST_VARINT):
        if at + i >= end:
            break
        byte = data[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise _MalformedError

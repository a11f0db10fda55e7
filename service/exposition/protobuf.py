"""Metrics as delimited messages `io.prometheus.client.MetricFamily`: the one format with native histograms.

Field numbers are those of metrics.proto in github.com/prometheus/client_model. It is written by hand: a few kinds of
fields need no generated code, nor a library.
"""

import struct
from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from ..histogram import LEAST, SCHEMA, HistogramFamily, Snapshot

COUNTER, GAUGE, UNTYPED, HISTOGRAM = 0, 1, 3, 4
VALUE_FIELDS = {COUNTER: 3, GAUGE: 2, UNTYPED: 5}
"""Of Metric, by its family's type: a message that holds a double."""

VARINT, FIXED64, LENGTH = 0, 1, 2
MICROSECONDS = 1_000_000


def as_protobuf(families: Iterable[Metric]) -> bytes:
    """Each family with its length before it."""
    messages: list[bytes] = []
    for family in families:
        if isinstance(family, HistogramFamily):
            metrics = [_labels(1, each.labels) + _message(7, _histogram(each)) for each in family.snapshots]
            messages.append(_family(family.name, family.documentation, HISTOGRAM, metrics))
        elif family.type in ("counter", "gauge"):
            name, kind = (f"{family.name}_total", COUNTER) if family.type == "counter" else (family.name, GAUGE)
            messages.append(_family(name, family.documentation, kind, _values(family, name, kind)))
        else:
            names = dict.fromkeys(sample.name for sample in family.samples)
            messages += [_family(name, family.documentation, UNTYPED, _values(family, name, UNTYPED)) for name in names]
    return b"".join(_varint(len(message)) + message for message in messages)


def _family(name: str, documentation: str, kind: int, metrics: Iterable[bytes]) -> bytes:
    head = _string(1, name) + _string(2, documentation) + _number(3, kind)
    return head + b"".join(_message(4, metric) for metric in metrics)


def _values(family: Metric, name: str, kind: int) -> list[bytes]:
    return [
        _labels(1, sample.labels) + _message(VALUE_FIELDS[kind], _double(1, sample.value))
        for sample in family.samples
        if sample.name == name
    ]


def _histogram(snapshot: Snapshot) -> bytes:
    """With both kinds of buckets."""
    parts = [_number(1, snapshot.observed), _double(2, snapshot.total)]
    for place, (bound, below) in enumerate(zip(snapshot.bounds, accumulate(snapshot.counts), strict=False)):
        bucket = _number(1, below) + _double(2, bound)
        if (exemplar := snapshot.exemplars.get(place)) is not None:
            bucket += _message(3, _exemplar(exemplar))
        parts.append(_message(3, bucket))
    if (exemplar := snapshot.exemplars.get(len(snapshot.bounds))) is not None:
        # Above all bounds the bucket goes without saying, unless it has an exemplar.
        bucket = _number(1, snapshot.observed) + _double(2, float("inf")) + _message(3, _exemplar(exemplar))
        parts.append(_message(3, bucket))
    parts += [_number(5, _zigzag(SCHEMA)), _double(6, LEAST), _number(7, snapshot.zero_count)]
    end = before = 0
    spans: list[list[int]] = []
    deltas = []
    for index, count in sorted(snapshot.native.items()):
        if not spans or index != end:
            spans.append([index - end, 0])
        spans[-1][1] += 1
        deltas.append(count - before)
        end, before = index + 1, count
    parts += [_message(12, _number(1, _zigzag(offset)) + _number(2, length)) for offset, length in spans]
    parts += [_number(13, _zigzag(delta)) for delta in deltas]
    return b"".join(parts)


def _exemplar(exemplar: Exemplar) -> bytes:
    encoded = _labels(1, exemplar.labels) + _double(2, exemplar.value)
    if exemplar.timestamp is None:
        return encoded
    # A double has no nanoseconds at this distance from 1970.
    seconds, microseconds = divmod(round(float(exemplar.timestamp) * MICROSECONDS), MICROSECONDS)
    return encoded + _message(3, _number(1, seconds) + _number(2, microseconds * 1000))


def _labels(field: int, labels: Mapping[str, str]) -> bytes:
    return b"".join(_message(field, _string(1, name) + _string(2, value)) for name, value in labels.items())


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | LENGTH) + _varint(len(content)) + content


def _string(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _number(field: int, value: int) -> bytes:
    """A whole number that is not negative."""
    return _varint(field << 3 | VARINT) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | FIXED64) + struct.pack("<d", value)


def _zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def _varint(value: int) -> bytes:
    if value < 0x80:
        return value.to_bytes()
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

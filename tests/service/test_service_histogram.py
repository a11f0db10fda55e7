"""Histograms: given buckets, native ones, exemplars."""

import bisect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.histogram import LEAST, MOST, SCHEMA, Histogram

BOUNDS = (0.01, 0.05, 0.1)


def histogram(labels=(), **options):
    registry = CollectorRegistry()
    return Histogram("taken_seconds", "Time taken.", BOUNDS, labels, registry, **options), registry


def test_a_value_on_a_bound_belongs_to_its_bucket():
    made, registry = histogram()
    for value in (0.01, 0.05, 0.0500001, 7.0):
        made.observe(value)
    read = registry.get_sample_value
    assert [read("taken_seconds_bucket", {"le": le}) for le in ("0.01", "0.05", "0.1", "+Inf")] == [1, 2, 3, 4]
    assert read("taken_seconds_count") == 4
    assert read("taken_seconds_sum") == pytest.approx(7.1100001)


def test_series_with_other_labels_are_counted_apart():
    made, registry = histogram(("outcome",))
    made.labels("scored").observe(0.02)
    assert made.labels("scored") is made.labels("scored")
    made.labels("shed")
    assert registry.get_sample_value("taken_seconds_count", {"outcome": "scored"}) == 1
    assert registry.get_sample_value("taken_seconds_count", {"outcome": "shed"}) == 0


def test_a_name_cannot_be_taken_twice_in_a_registry():
    _, registry = histogram()
    with pytest.raises(ValueError, match="taken_seconds"):
        Histogram("taken_seconds", "Again.", BOUNDS, (), registry)


def test_the_last_trace_of_a_bucket_is_its_exemplar():
    made, _ = histogram(wall_clock=lambda: 1_700_000_000.5)
    made.observe(0.02, "a" * 32)
    made.observe(0.03, "b" * 32)
    made.observe(0.04)
    made.observe(9.0, "c" * 32)
    (family,) = made.collect()
    exemplars = {sample.labels["le"]: sample.exemplar for sample in family.samples if sample.exemplar is not None}
    assert {le: (each.labels["trace_id"], each.value) for le, each in exemplars.items()} == {
        "0.05": ("b" * 32, 0.03),
        "+Inf": ("c" * 32, 9.0),
    }
    assert exemplars["0.05"].timestamp == 1_700_000_000.5


@given(st.lists(st.one_of(st.floats(0, 1e9), st.floats(width=16)), max_size=50))
def test_every_value_is_in_one_given_and_in_one_native_bucket(values):
    made, _ = histogram()
    for value in values:
        made.observe(value)
    (snapshot,) = made.collect()[0].snapshots
    assert snapshot.observed == snapshot.zero_count + sum(snapshot.native.values()) == len(values)
    for place, count in enumerate(snapshot.counts):
        assert count == sum(bisect.bisect_left(BOUNDS, value) == place for value in values)


@given(st.floats(LEAST, MOST, exclude_min=True))
def test_a_native_bucket_holds_its_value(value):
    made, _ = histogram()
    made.observe(value)
    (snapshot,) = made.collect()[0].snapshots
    ((index, _),) = snapshot.native.items()
    # Bounds are irrational but for powers of two: floats may be a last place off.
    assert 2 ** ((index - 1) / 2**SCHEMA) * (1 - 1e-12) < value <= 2 ** (index / 2**SCHEMA) * (1 + 1e-12)


def test_native_buckets_are_bounded_whatever_comes():
    made, _ = histogram()
    for exponent in range(-1074, 1024):
        for part in range(8):
            made.observe(math.ldexp(1 + part / 8, exponent))
    for odd in (math.inf, -math.inf, math.nan, -1.0, 0.0):
        made.observe(odd)
    (snapshot,) = made.collect()[0].snapshots
    assert len(snapshot.native) <= 33 * 2**SCHEMA

"""/metrics in the three formats: each read by a parser that is not ours."""

import math
import re

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.decoder import _DecodeVarint32
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_client.utils import floatToGoString

from service.exposition.formats import FORMATS, OPENMETRICS, PROTOBUF, TEXT, choose_format
from service.histogram import Histogram
from service.metric_text import as_go

PROTO = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
NASTY = 'back\\slash "quoted"\nline'
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}

# github.com/prometheus/client_model, metrics.proto: (name, number, kind, label), kinds by protobuf's own names.
MESSAGES = {
    "LabelPair": [("name", 1, "STRING"), ("value", 2, "STRING")],
    "Gauge": [("value", 1, "DOUBLE")],
    "Counter": [("value", 1, "DOUBLE")],
    "Untyped": [("value", 1, "DOUBLE")],
    "Timestamp": [("seconds", 1, "INT64"), ("nanos", 2, "INT32")],
    "Exemplar": [("label", 1, "*LabelPair"), ("value", 2, "DOUBLE"), ("timestamp", 3, "Timestamp")],
    "Bucket": [("cumulative_count", 1, "UINT64"), ("upper_bound", 2, "DOUBLE"), ("exemplar", 3, "Exemplar")],
    "BucketSpan": [("offset", 1, "SINT32"), ("length", 2, "UINT32")],
    "Histogram": [
        *(("sample_count", 1, "UINT64"), ("sample_sum", 2, "DOUBLE"), ("bucket", 3, "*Bucket")),
        *(("schema", 5, "SINT32"), ("zero_threshold", 6, "DOUBLE"), ("zero_count", 7, "UINT64")),
        *(("positive_span", 12, "*BucketSpan"), ("positive_delta", 13, "*SINT64")),
    ],
    "Metric": [
        *(("label", 1, "*LabelPair"), ("gauge", 2, "Gauge"), ("counter", 3, "Counter")),
        *(("untyped", 5, "Untyped"), ("histogram", 7, "Histogram")),
    ],
    "MetricFamily": [("name", 1, "STRING"), ("help", 2, "STRING"), ("type", 3, "UINT32"), ("metric", 4, "*Metric")],
}


@pytest.fixture(scope="module")
def read_protobuf():
    """Protobuf's own parser, over the schema above: a list of families. Fields that it does not know are an error."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="io.prometheus.client", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            made = message.field.add(name=field_name, number=number, label=label)
            if kind.strip("*") in MESSAGES:
                made.type, made.type_name = field.TYPE_MESSAGE, f".io.prometheus.client.{kind.strip('*')}"
            else:
                made.type = getattr(field, f"TYPE_{kind.strip('*')}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    family_of = message_factory.GetMessageClass(pool.FindMessageTypeByName("io.prometheus.client.MetricFamily"))

    def read(content):
        families = []
        position = 0
        while position < len(content):
            size, position = _DecodeVarint32(content, position)
            piece = content[position : position + size]
            family = family_of.FromString(piece)
            assert len(family.SerializeToString()) == len(piece), "fields were left over"
            families.append(family)
            position += size
        return families

    return read


def made_registry():
    registry = CollectorRegistry()
    Counter("parts", f"Parts, {NASTY}.", ["kind"], registry=registry).labels(NASTY).inc(3)
    Gauge("level", "Level.", registry=registry).set(-1.5e-9)
    Gauge("unset", "Nothing yet.", ["kind"], registry=registry)
    taken = Histogram("taken_seconds", "Time.", (0.01, 0.05), ("outcome",), registry, lambda: 1_700_000_000.25)
    for value in (0.0, 0.004, 0.02, 0.021, 0.5):
        taken.labels("scored").observe(value)
    taken.labels("scored").observe(0.03, TRACE)
    taken.labels("shed")
    return registry


def samples_of(families):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.parametrize(("wanted", "read"), [(TEXT, read_text), (OPENMETRICS, read_openmetrics)])
def test_text_says_what_the_registry_holds(wanted, read):
    registry = made_registry()
    families = list(read(wanted.write(registry.collect()).decode()))
    assert samples_of(families) == samples_of(registry.collect())
    assert {family.name: family.documentation for family in families}["parts"] == f"Parts, {NASTY}."


def test_openmetrics_alone_has_exemplars():
    registry = made_registry()
    assert TRACE not in TEXT.write(registry.collect()).decode()
    families = read_openmetrics(OPENMETRICS.write(registry.collect()).decode())
    (exemplar,) = [sample.exemplar for family in families for sample in family.samples if sample.exemplar]
    assert (exemplar.labels, exemplar.value, float(exemplar.timestamp)) == ({"trace_id": TRACE}, 0.03, 1_700_000_000.25)


def test_protobuf_says_what_the_registry_holds(read_protobuf):
    parts, level, unset, taken = read_protobuf(PROTOBUF.write(made_registry().collect()))
    assert (parts.name, parts.help, parts.type) == ("parts_total", f"Parts, {NASTY}.", 0)
    assert [(pair.name, pair.value) for pair in parts.metric[0].label] == [("kind", NASTY)]
    assert parts.metric[0].counter.value == 3
    assert (level.name, level.type, level.metric[0].gauge.value) == ("level", 1, -1.5e-9)
    assert len(unset.metric) == 0
    assert (taken.name, taken.type) == ("taken_seconds", 4)
    scored, shed = taken.metric
    assert [pair.value for pair in scored.label] == ["scored"]
    assert (scored.histogram.sample_count, scored.histogram.sample_sum) == (6, pytest.approx(0.575))
    assert [(each.upper_bound, each.cumulative_count) for each in scored.histogram.bucket] == [(0.01, 2), (0.05, 5)]
    exemplar = scored.histogram.bucket[1].exemplar
    assert (exemplar.label[0].value, exemplar.value) == (TRACE, 0.03)
    assert (exemplar.timestamp.seconds, exemplar.timestamp.nanos) == (1_700_000_000, 250_000_000)
    assert shed.histogram.sample_count == 0
    # By this a scraper knows a native histogram that is still empty.
    assert shed.histogram.zero_threshold > 0


@given(values=st.lists(st.floats(0, 1e6), max_size=60))
def test_native_buckets_are_told_as_spans_and_differences(read_protobuf, values):
    registry = CollectorRegistry()
    made = Histogram("taken_seconds", "Time.", (0.01,), (), registry)
    for value in values:
        made.observe(value)
    (family,) = read_protobuf(PROTOBUF.write(registry.collect()))
    told = family.metric[0].histogram
    counts = {}
    index = count = 0
    deltas = iter(told.positive_delta)
    for span in told.positive_span:
        index += span.offset
        for _ in range(span.length):
            count += next(deltas)
            counts[index] = count
            index += 1
    assert next(deltas, None) is None
    (snapshot,) = made.collect()[0].snapshots
    assert counts == snapshot.native
    assert told.zero_count == snapshot.zero_count == sum(value <= told.zero_threshold for value in values)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        # Prometheus, without and with native histograms, and of version 3.
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),
        (f"{PROTO},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5", PROTOBUF),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
            OPENMETRICS,
        ),
        ("text/plain;q=0.9,application/openmetrics-text;version=1.0.0;q=0.3", TEXT),
        # What is not there, or makes no sense.
        ("application/openmetrics-text;version=abc", TEXT),
        (f"application/openmetrics-text;version={'9' * 5000}", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        (";;;,=,q=1,,", TEXT),
    ],
)
def test_a_scraper_gets_the_format_it_likes_best(accept, wanted):
    assert choose_format(accept) is wanted


@given(st.text(max_size=300))
def test_any_wish_gets_a_format(accept):
    assert choose_format(accept) in FORMATS


def test_the_route_answers_in_every_format(service, read_protobuf):
    body = {"query": "usb", "products": [{"title": "usb"}]}
    assert service.client.post("/score", json=body, headers=PARENT).is_success
    answers = []
    for each in (OPENMETRICS, TEXT, PROTOBUF):
        accept = PROTO if each is PROTOBUF else each.media_type
        answers.append(service.client.get("/metrics", headers={"accept": accept}))
        assert answers[-1].headers["content-type"] == each.content_type
    openmetrics = list(read_openmetrics(answers[0].text))
    text = list(read_text(answers[1].text))
    protobuf = read_protobuf(answers[2].content)
    whole = {f"{family.name}_total" if family.type == "counter" else family.name for family in openmetrics}
    assert {f"{family.name}_total" if family.type == "counter" else family.name for family in text} == whole
    assert {family.name for family in protobuf} == whole
    assert len(whole) > 50
    exemplars = [each.exemplar for family in openmetrics for each in family.samples if each.exemplar]
    assert {"trace_id": TRACE} in [each.labels for each in exemplars]


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{TRACE}-00f067aa0ba902b7-00",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}",
        '00-"}',
    ],
)
def test_a_trace_that_nobody_keeps_or_that_is_none_is_no_exemplar(serve, parent):
    service = serve()
    body = {"query": "usb", "products": [{"title": "usb"}]}
    assert service.client.post("/score", json=body, headers={"traceparent": parent}).is_success
    text = service.client.get("/metrics", headers={"accept": OPENMETRICS.media_type}).text
    assert not re.search(r" # \{", text)


def test_numbers_are_written_as_go_reads_them():
    registry = CollectorRegistry()
    gauge = Gauge("level", "Level.", ["kind"], registry=registry)
    for kind, value in (("inf", math.inf), ("least", -math.inf), ("none", math.nan), ("large", 1e21)):
        gauge.labels(kind).set(value)
    lines = TEXT.write(registry.collect()).decode().splitlines()[2:]
    assert [line.rpartition(" ")[2] for line in lines] == ["+Inf", "-Inf", "NaN", "1e+21"]


@given(st.one_of(st.integers(-(10**7), 10**7), st.floats(), st.just(True)))
def test_a_count_is_written_as_any_number(value):
    assert as_go(value) == floatToGoString(value)

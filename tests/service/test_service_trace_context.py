"""Reading W3C Trace Context, by the standard's rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing.w3c import MAX_TRACESTATE_BYTES, read_trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def read(*parents, **others):
    headers = [(b"host", b"x"), *((b"traceparent", each.encode("latin-1")) for each in parents)]
    return read_trace_context([*headers, *((name.encode(), value) for name, value in others.items())])


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_the_trace_the_span_and_the_sampled_flag_are_read(flags, sampled):
    found = read(f"00-{TRACE}-{SPAN}-{flags}")
    assert (found.trace_id, found.parent_id, found.sampled, found.recorded) == (TRACE, SPAN, sampled, False)


@pytest.mark.parametrize(
    "parent",
    [
        *("", "00", TRACE, PARENT.upper(), PARENT[:-1], f"{PARENT}0", f"{PARENT}-more", f"ff-{TRACE}-{SPAN}-01"),
        *(f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00_{TRACE}_{SPAN}_01", f"0-{TRACE}-{SPAN}-01"),
        *(f"00-{TRACE[:-1]}g-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01.what", f"cc-{TRACE}-{SPAN}-01-{'x' * 300}"),
        *(f"00-{TRACE}-{SPAN}-0x", f"\xb2{PARENT[1:]}", f"00-{TRACE}\n-{SPAN}-01"),
    ],
)
def test_what_is_no_traceparent_counts_for_nothing(parent):
    assert read(parent) is None


def test_no_header_is_no_trace_and_two_are_none_either():
    assert read() is None
    assert read(PARENT, PARENT) is None


@pytest.mark.parametrize("parent", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-will-be", f" {PARENT}\t"])
def test_later_versions_are_read_as_far_as_they_are_known(parent):
    assert read(parent).trace_id == TRACE


def test_tracestates_are_joined_and_one_that_is_too_long_is_left_out():
    headers = [(b"tracestate", b"a=1"), (b"traceparent", PARENT.encode()), (b"tracestate", b"b=2")]
    assert read_trace_context(headers).state == b"a=1,b=2"
    assert read(PARENT, tracestate=b"a=" + b"x" * MAX_TRACESTATE_BYTES).state == b""
    assert read(tracestate=b"a=1") is None


HEX = st.text("0123456789abcdef", min_size=1, max_size=40)
PARTS = st.tuples(
    *(
        st.sampled_from(["00", "cc", "ff", "0"]) | HEX,
        *(st.sampled_from([TRACE, "0" * 32]) | HEX, st.sampled_from([SPAN, "0" * 16]) | HEX),
        st.sampled_from(["00", "01", "03"]) | HEX,
    )
)


@given(PARTS, st.sampled_from(["", "-", "-x", "x", " "]))
def test_it_agrees_with_opentelemetry(parts, tail):
    parent = "-".join(parts) + tail
    ours = read(parent)
    context = TraceContextTextMapPropagator().extract({"traceparent": [parent]})
    theirs = trace.get_current_span(context).get_span_context()
    if ours is None:
        assert not theirs.is_valid
    else:
        assert theirs.trace_id == int(ours.trace_id, 16)
        assert theirs.span_id == int(ours.parent_id, 16)
        assert bool(theirs.trace_flags & 1) == ours.sampled

"""What callers send does not appear in the log, unless a setting says so."""

import contextlib
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.logs import JsonFormatter, TextFormatter

from .serving import FakeEngine, loader_of, running

MARK = "zqx"
"""In every text; nothing of ours holds it."""

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).map(lambda text: f"{MARK}{text}{MARK}")
FIELDS = st.fixed_dictionaries(
    {"title": TEXTS},
    optional=dict.fromkeys(("id", "brand", "color", "product_type", "gender", "description"), TEXTS),
)
BODIES = st.fixed_dictionaries(
    {"query": TEXTS, "products": st.lists(FIELDS, min_size=1, max_size=3)},
    optional={"model": TEXTS, "partial": st.booleans(), "timeout_ms": TEXTS | st.integers(1, 100)},
)


class QuotingEngine(FakeEngine):
    """Its errors say what it was given, as those of `float` do, and of other libraries."""

    def score_pairs(self, pairs):
        try:
            return super().score_pairs(pairs)
        except ValueError as error:
            raise RuntimeError(f"cannot score {pairs}") from error


class Kept(logging.Handler):
    def __init__(self, *formatters):
        super().__init__()
        self.formatters = formatters
        self.lines = []

    def emit(self, record):
        self.lines += [formatter.format(record) for formatter in self.formatters]


@contextlib.contextmanager
def logged(**options):
    """All lines of the process, in both formats."""
    root = logging.getLogger()
    kept = Kept(TextFormatter(**options), JsonFormatter(**options))
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    # The client shares this process.
    quiet = [logging.getLogger(name) for name in ("httpx", "httpcore")]
    for each in quiet:
        each.setLevel(logging.WARNING)
    try:
        yield kept
    finally:
        root.removeHandler(kept)
        root.setLevel(level)
        for each in quiet:
            each.setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def quoting(tiny_artifact):
    with logged() as kept, running(tiny_artifact, load=loader_of(QuotingEngine())) as service:
        yield service, kept


@settings(max_examples=60)
@given(BODIES)
def test_no_text_of_a_query_or_a_product_is_logged(quoting, body):
    service, kept = quoting
    kept.lines.clear()
    answer = service.client.post("/score", json=body)
    lines = "\n".join(kept.lines)
    if answer.status_code == 500:
        assert "cannot score [" not in lines
        assert "RuntimeError: (withheld" in lines
        assert "ValueError: (withheld" in lines
    assert MARK not in lines


def test_a_request_that_fails_has_its_frames_in_the_log_all_the_same(quoting):
    service, kept = quoting
    kept.lines.clear()
    assert service.score(MARK).status_code == 500
    lines = "\n".join(kept.lines)
    assert "in score_pairs" in lines
    assert "The above exception was the direct cause of the following exception" in lines
    assert "Error: the model could not score this request" in lines, "it is our own text"


def test_a_setting_has_the_query_and_the_messages_of_exceptions_logged(tiny_artifact):
    with logged(texts=True) as kept, running(tiny_artifact, load=loader_of(QuotingEngine()), log_texts=True) as service:
        assert service.score(MARK, query="red zebra").status_code == 500
        assert service.score("1", query="blue zebra").status_code == 200
        service.wait_until(lambda: "blue zebra" in "".join(kept.lines))
    events = [json.loads(line) for line in kept.lines if line.startswith("{")]
    assert [event["query"] for event in events if event["message"] == "request" and event["path"] == "/score"] == [
        "red zebra",
        "blue zebra",
    ]
    assert any("cannot score [(" in event.get("exception", "") for event in events)


def test_lines_of_a_request_in_a_trace_name_it_and_others_do_not(quoting):
    service, kept = quoting
    kept.lines.clear()
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"}
    for sent in (headers, {}, {"traceparent": "nonsense"}):
        assert service.client.post("/score", json={"query": "a", "products": [{"title": "b"}]}, headers=sent)
    service.wait_until(lambda: len([line for line in kept.lines if '"path":"/score"' in line]) == 3)
    events = [json.loads(line) for line in kept.lines if line.startswith("{")]
    ids = [event["request_id"] for event in events if event["message"] == "request"]
    by_request = [[event.get("trace_id") for event in events if event.get("request_id") == each] for each in ids]
    assert [set(found) for found in by_request] == [{TRACE}, {None}, {None}]
    assert all(len(found) == 3 for found in by_request), "the lane's line, the failure, the request"


class _Argument:
    def __repr__(self):
        return MARK


def test_what_the_event_loop_says_of_a_broken_callback_does_not_quote_its_arguments(quoting):
    _, kept = quoting
    kept.lines.clear()
    logging.getLogger("asyncio").error("Exception in callback f(%r)\nhandle: <Handle f(%r)>", _Argument(), _Argument())
    assert len(kept.lines) == 2
    assert all("Exception in callback f" in line and MARK not in line for line in kept.lines)


def test_an_exception_that_leads_to_itself_is_rendered_once():
    first, second = ValueError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "m", (), (ValueError, first, None))
    lines = TextFormatter().format(record).splitlines()
    assert [line.split(":")[0] for line in lines if "withheld" in line] == ["KeyError", "ValueError"]

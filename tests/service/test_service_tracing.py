"""Spans of scoring requests, at a real OTLP receiver."""

import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.app import create_app
from service.context import RequestInfo
from service.handover import Handover
from service.metrics import Metrics
from service.settings import Settings
from service.tracing.otel import Exporter
from service.tracing.tracing import Traced, Tracing, TracingError
from service.tracing.w3c import TraceContext

from .collector import attributes, collecting
from .serving import FakeEngine, GatedEngine, loader_of, running

ROOT = Path(__file__).parents[2]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
ASKED = {"query": "usb charger", "products": [{"title": "usb cable"}, {"title": "red shoe"}]}


@pytest.fixture(scope="module")
def collector():
    with collecting() as collector:
        yield collector


@pytest.fixture(autouse=True)
def _nothing_collected_yet(collector):
    collector.requests.clear()
    collector.status = 200


@pytest.fixture
def tracing(collector):
    """`Tracing` and the work of its thread, by hand."""

    def make(rate=1.0, max_waiting=10):
        metrics = Metrics()
        exporter = Exporter(collector.url, metrics, lambda: 10.0, lambda: 1000.0)
        handover = Handover(exporter.export, max_waiting, "test")
        return Tracing(rate, handover, metrics, random.Random(0)), handover, metrics

    return make


def count(metrics, outcome):
    return metrics.registry.get_sample_value("shelfscore_traced_requests_total", {"outcome": outcome}) or 0


def test_a_scored_request_has_a_span_with_its_stages_in_its_callers_trace(tiny_artifact, collector):
    began = time.time()
    with running(tiny_artifact, trace_endpoint=collector.url) as service:
        headers = {**SAMPLED, "tracestate": "shop=a1,other=b2", "x-request-id": "r-1"}
        answer = service.client.post("/score", json=ASKED, headers=headers)
        assert answer.status_code == 200
    # Stopping exports what waits.
    request, *stages = collector.spans()
    assert (request.name, request.kind) == ("POST /score", request.SPAN_KIND_SERVER)
    assert [stage.name for stage in stages] == ["receive", "admission", "queue", "tokenise", "queue", "inference"]
    assert {span.trace_id.hex() for span in (request, *stages)} == {TRACE}
    assert {span.trace_state for span in (request, *stages)} == {"shop=a1,other=b2"}
    assert request.parent_span_id.hex() == SPAN
    assert {stage.parent_span_id for stage in stages} == {request.span_id}
    assert len({span.span_id for span in (request, *stages)}) == len(stages) + 1
    assert answer.headers["traceresponse"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    assert began - 1 < request.start_time_unix_nano / 1e9 <= request.end_time_unix_nano / 1e9 < time.time() + 1
    for stage in stages:
        assert request.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano
        assert stage.end_time_unix_nano <= request.end_time_unix_nano
    found = attributes(request)
    assert found["http.response.status_code"] == 200
    assert (found["shelfscore.request_id"], found["shelfscore.products"]) == ("r-1", 2)
    assert found["shelfscore.version"] == answer.headers["x-model-version"]
    assert request.status.code == request.status.STATUS_CODE_UNSET
    assert not [text for text in ("usb", "cable", "red", "shoe") if text in str(collector.requests)]
    (resource,) = collector.resources()
    assert resource["service.name"] == "shelfscore"
    assert resource["service.version"]
    assert collector.paths[-1] == "/v1/traces"


def test_a_split_models_encoders_have_a_stage(split_artifact, collector):
    with running(split_artifact, trace_endpoint=collector.url) as service:
        for _ in range(2):
            assert service.client.post("/score", json=ASKED, headers=SAMPLED).status_code == 200
    names = [span.name for span in collector.spans()]
    assert names.count("encode") == 1, "the second time the states are known"
    assert names.count("inference") == 2


@pytest.mark.parametrize(
    ("body", "settings", "status"),
    [
        (ASKED | {"products": [{"title": "broken"}]}, {}, 500),
        (ASKED, {"api_keys": "k"}, 401),
        (ASKED | {"price": 1}, {}, 422),
    ],
)
def test_a_request_that_fails_has_a_span_too(tiny_artifact, collector, body, settings, status):
    with running(tiny_artifact, load=loader_of(FakeEngine()), trace_endpoint=collector.url, **settings) as service:
        assert service.client.post("/score", json=body, headers=SAMPLED).status_code == status
    span = collector.spans()[0]
    assert attributes(span)["http.response.status_code"] == status
    assert str(attributes(span).get("error.type")).endswith("Error") == (status == 500)
    assert (span.status.code == span.status.STATUS_CODE_ERROR) == (status == 500)


def test_a_request_whose_deadline_passes_shows_where_its_time_went(tiny_artifact, collector):
    engine = GatedEngine()
    with running(tiny_artifact, load=loader_of(engine), trace_endpoint=collector.url) as service:
        answer = service.client.post(
            "/score", json={"query": "usb", "products": [{"title": "1"}], "timeout_ms": 20}, headers=SAMPLED
        )
        engine.open()
    assert answer.status_code == 504
    request, *stages = collector.spans()
    assert attributes(request)["error.type"] == "DeadlineExceededError"
    assert stages[-1].end_time_unix_nano == request.end_time_unix_nano


def test_the_callers_flag_decides_and_without_one_the_rate_does(tracing):
    never, always = (tracing(rate)[0] for rate in (0.0, 1.0))
    for each in (never, always):
        assert each.begin(TraceContext(TRACE, SPAN, sampled=True)).recorded
        assert not each.begin(TraceContext(TRACE, SPAN, sampled=False)).recorded
    assert never.begin(None) is None
    made = always.begin(None)
    assert made.recorded
    assert made.parent_id is None
    assert (len(made.trace_id), len(made.span_id)) == (32, 16)
    some = tracing(0.25)[0]
    assert 200 < sum(some.begin(None) is not None for _ in range(1000)) < 300


def test_a_request_that_is_not_recorded_gets_no_header_and_leaves_no_span(tiny_artifact, collector):
    with running(tiny_artifact, trace_endpoint=collector.url, trace_rate=0.0) as service:
        for headers in (UNSAMPLED, {}, {"traceparent": "nonsense"}):
            answer = service.client.post("/score", json=ASKED, headers=headers)
            assert answer.status_code == 200
            assert "traceresponse" not in answer.headers
        assert "traceresponse" not in service.client.get("/health/live", headers=SAMPLED).headers
        assert service.client.get("/score", headers=SAMPLED).status_code == 405
    assert not collector.requests


def test_a_trace_that_begins_here_has_no_parent(tiny_artifact, collector):
    with running(tiny_artifact, trace_endpoint=collector.url, trace_rate=1.0) as service:
        answer = service.client.post("/score", json=ASKED)
    request = collector.spans()[0]
    assert request.parent_span_id == b""
    assert answer.headers["traceresponse"].split("-")[1] == request.trace_id.hex()


def traced(**more):
    info = RequestInfo(9.0, "r", trace=TraceContext(TRACE, None, sampled=True, span_id=SPAN), **more)
    return info, 200, 10.0


def test_spans_stand_at_the_wall_clocks_time(tracing, collector):
    each, handover, metrics = tracing()
    each.end(*traced(received=9.5))
    handover.work_off()
    request, *_ = collector.spans()
    assert (request.start_time_unix_nano, request.end_time_unix_nano) == (999 * 10**9, 1000 * 10**9)
    assert count(metrics, "exported") == 1


def test_what_the_queue_cannot_hold_is_dropped_and_counted(tracing, collector):
    each, handover, metrics = tracing(max_waiting=3)
    for _ in range(5):
        each.end(*traced())
    handover.work_off()
    assert [span.name for span in collector.spans()].count("POST /score") == 3
    assert (count(metrics, "exported"), count(metrics, "dropped")) == (3, 2)


@pytest.mark.parametrize("status", [400, 500])
def test_a_collector_that_refuses_spans_loses_them_alone(tracing, collector, status):
    each, handover, metrics = tracing()
    collector.status = status
    each.end(*traced())
    handover.work_off()
    assert count(metrics, "failed") == 1
    collector.status = 200
    each.end(*traced())
    handover.work_off()
    assert count(metrics, "exported") == 1


def test_a_tracestate_that_breaks_the_rules_costs_the_state_and_not_the_span(tracing, collector):
    each, handover, _ = tracing()
    info, status, ended = traced()
    info.trace.state = b"\xff\xfe=,,===;"
    each.end(info, status, ended)
    handover.work_off()
    (span,) = (each for each in collector.spans() if each.name == "POST /score")
    assert span.trace_state == ""


def test_a_tracestate_that_breaks_the_rules_is_not_quoted_in_the_log(tracing, caplog):
    each, handover, _ = tracing()
    info, status, ended = traced()
    info.trace.state = b"Foo=running shoes"
    each.end(info, status, ended)
    handover.work_off()
    assert "shoes" not in caplog.text


def test_an_endpoint_without_a_path_gets_the_usual_one(collector):
    exporter = Exporter(collector.url.removesuffix("/v1/traces"), Metrics(), lambda: 10.0)
    exporter.export([Traced(*traced())])
    assert collector.paths[-1] == "/v1/traces"


def test_requests_are_answered_while_nobody_listens_at_the_endpoint(tiny_artifact):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running(tiny_artifact, trace_endpoint=f"http://127.0.0.1:{port}/v1/traces") as service:
        for _ in range(20):
            assert service.client.post("/score", json=ASKED, headers=SAMPLED).status_code == 200


def test_a_collector_that_never_answers_holds_up_neither_requests_nor_the_stop(tiny_artifact):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=5) as silent,
        running(tiny_artifact, trace_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}/") as service,
    ):
        assert service.client.post("/score", json=ASKED, headers=SAMPLED).status_code == 200
        # It connects, and waits for an answer.
        silent.accept()[0].close()
        assert service.client.post("/score", json=ASKED, headers=SAMPLED).status_code == 200


def test_without_the_setting_neither_sdk_nor_exporter_is_imported():
    code = """
import sys
from service.app import create_app
from service.server import Server
from service.settings import Settings
create_app(Settings())
unwanted = ("opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf", "requests")
found = sorted(name for name in sys.modules if name.startswith(unwanted))
assert not found, found
create_app(Settings(trace_endpoint="http://127.0.0.1:1/"))
assert "opentelemetry.sdk.trace" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


WITHOUT_EXTRA = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from service.__main__ import main
sys.exit(main(["--trace-endpoint", "http://127.0.0.1:4318/v1/traces"]))
"""


def test_the_setting_without_the_extra_is_refused_in_a_sentence():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "service: cannot serve: the setting trace_endpoint needs OpenTelemetry" in done.stderr
    assert "pip install 'shelfscore[otel]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_app_refuses_it_as_well(monkeypatch):
    monkeypatch.setattr("service.tracing.tracing.find_spec", lambda _: None)
    with pytest.raises(TracingError, match=r"pip install 'shelfscore\[otel\]'"):
        create_app(Settings(trace_endpoint="http://127.0.0.1:4318"))


def test_an_endpoint_that_is_no_url_is_refused():
    with pytest.raises(ValueError, match="trace_endpoint"):
        Settings(trace_endpoint="127.0.0.1:4318")


def test_every_scored_request_on_one_connection_has_a_trace_of_its_own(tiny_artifact, collector):
    with running(tiny_artifact, trace_endpoint=collector.url, trace_rate=1.0) as service:
        answers = [service.client.post("/score", json=ASKED) for _ in range(5)]
        assert len({answer.headers["traceresponse"] for answer in answers}) == 5
    assert len({span.trace_id for span in collector.spans()}) == 5

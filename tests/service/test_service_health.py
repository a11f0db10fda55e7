"""Probes, metrics, models and documentation, while loading, working, failing and draining."""

import contextlib
import threading

import pytest

from artifact import ArtifactError
from service.lanes import STALL_S

from .serving import FakeEngine, GatedEngine, loader_of, running


def test_a_ready_service_says_so(service):
    assert service.client.get("/health/live").json() == {"status": "live", "lanes": 2}
    assert service.client.get("/health/ready").json() == {"status": "ready"}


def test_while_loading_it_is_live_but_not_ready(tiny_artifact):
    go = threading.Event()

    def load(settings, metrics):
        assert go.wait(60)
        return loader_of(FakeEngine())(settings, metrics)

    with running(tiny_artifact, load=load, ready=False) as service:
        assert service.client.get("/health/live").status_code == 200
        answer = service.client.get("/health/ready")
        assert (answer.status_code, answer.json()["detail"]) == (503, "the model is loading")
        assert answer.headers["retry-after"]
        assert service.score("1").status_code == 503
        assert service.client.get("/models").json() == {"models": []}
        assert service.metric("ready") == 0
        go.set()
        service.wait_for(ready=True)
        assert service.score("1").status_code == 200
        assert service.metric("ready") == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ArtifactError("models/x", "expected better"), "models/x: expected better"), (MemoryError("why"), "MemoryError")],
)
def test_a_model_that_cannot_be_loaded_leaves_it_not_ready_with_the_reason(tiny_artifact, error, reason, caplog):
    failed = threading.Event()

    def load(settings, metrics):
        failed.set()
        raise error

    with running(tiny_artifact, load=load, ready=False) as service:
        assert failed.wait(60)
        while (detail := service.client.get("/health/ready").json()["detail"]) == "the model is loading":
            pass
        assert detail == f"the model could not be loaded: {reason}"
        assert service.score("1").status_code == 503
    assert "cannot serve" in caplog.text


def test_while_draining_work_in_flight_ends_and_other_work_is_refused(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine))
    body = {"query": "usb", "products": [{"title": "1"}]}
    with service.sending("/score", json=body) as first:
        engine.wait_until_entered()
        service.runtime.drain()
        service.runtime.drain()
        answer = service.client.get("/health/ready")
        assert (answer.status_code, answer.json()["detail"]) == (503, "the service is stopping")
        answer = service.score("2")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert service.client.get("/health/live").status_code == 200
        engine.open()
        assert first.result(60).status_code == 200
    assert service.metric("score_requests_total", outcome="shed", reason="draining") == 1


def test_a_stuck_lane_ends_liveness(serve, monkeypatch):
    service = serve()
    real = service.runtime.lanes.pairs._clock
    service.runtime.lanes.pairs._busy_since[0] = real() - STALL_S
    answer = service.client.get("/health/live")
    assert (answer.status_code, answer.json()["detail"]) == (503, "1 of 2 inference lanes do not answer")
    assert service.client.get("/health/ready").status_code == 200
    service.runtime.lanes.pairs._busy_since[1] = real() - STALL_S
    assert service.client.get("/health/ready").status_code == 503
    service.runtime.lanes.pairs._busy_since[:] = [None, None]


def test_probes_and_metrics_answer_while_every_lane_is_busy(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1)
    body = {"query": "usb", "products": [{"title": "1"}] * 100}
    with service.sending("/score", json=body) as first:
        engine.wait_until_entered()
        for path in ("/health/live", "/health/ready", "/metrics", "/models"):
            assert service.client.get(path).status_code == 200
        # An answer is read before its request is counted out.
        while service.metric("in_flight_requests") != 1:
            pass
        assert service.metric("queued_products") == 100
        assert service.metric("queued_units") > 0
        engine.open()
        assert first.result(60).status_code == 200
    assert service.metric("queued_units") == 0


def test_a_caller_that_leaves_frees_its_place(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1)
    with contextlib.closing(service.raw()) as raw:
        body = b'{"query": "usb", "products": [{"title": "1"}]}'
        head = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        raw.sendall(head % len(body) + body)
        engine.wait_until_entered()
    while service.metric("score_requests_total", outcome="gone", reason="client_gone") != 1:
        pass
    assert service.metric("queued_products") == 0
    engine.open()
    assert service.score("2").status_code == 200
    assert service.metric("requests_total", route="/score", status="499") == 1


def test_a_caller_that_leaves_in_the_middle_of_its_body_is_forgotten(serve):
    service = serve()
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
        while service.metric("in_flight_requests") != 1:
            pass
    while service.metric("score_requests_total", outcome="gone", reason="client_gone") != 1:
        pass
    while service.metric("in_flight_requests"):
        pass


def test_probes_are_answered_while_metrics_are_being_rendered(serve, monkeypatch):
    service = serve()
    render, begun, go_on = service.runtime.metrics.render, threading.Event(), threading.Event()

    def slow_render(wanted):
        begun.set()
        assert go_on.wait(60)
        return render(wanted)

    monkeypatch.setattr(service.runtime.metrics, "render", slow_render)
    with service.sending("/metrics", method="GET") as scrape:
        assert begun.wait(60)
        assert service.client.get("/health/ready").status_code == 200
        go_on.set()
        assert scrape.result(60).status_code == 200


def test_metrics_are_in_prometheus_text(service):
    service.score("usb cable", "hose")
    answer = service.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for line in (
        'shelfscore_requests_total{route="/score",status="200"}',
        'shelfscore_request_duration_seconds_bucket{le="0.05",route="/score"}',
        "shelfscore_request_products_bucket",
        'shelfscore_tokens_total{kind="padding"}',
        "shelfscore_micro_batch_duration_seconds_bucket",
        "shelfscore_queued_units 0.0",
        "shelfscore_lanes 2.0",
        "shelfscore_lanes_alive 2.0",
        "shelfscore_ready 1.0",
        "shelfscore_cold_start_seconds",
        'shelfscore_model_info{architecture="cross-encoder",name="tiny",precision="int8",variant="cpu-int8",version="',
        "process_resident_memory_bytes",
    ):
        assert f"\n{line}" in answer.text, line


def test_unknown_paths_do_not_become_labels(service):
    service.client.get("/secret-path-1")
    text = service.client.get("/metrics").text
    assert "secret-path" not in text
    assert 'route="other",status="404"' in text


def test_models_lists_the_loaded_manifest(service):
    (model,) = service.client.get("/models").json()["models"]
    assert model["name"] == "tiny"
    assert model["architecture"] == "cross-encoder"
    assert (model["variant"], model["precision"]) == ("cpu-int8", "int8")
    assert [field["name"] for field in model["template"]["fields"]] == ["title", "brand"]
    assert model["evaluation"] == []
    assert len(model["version"]) == 16

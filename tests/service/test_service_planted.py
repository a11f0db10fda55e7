"""Faults that are planted on purpose: each does what its name says, and the service does about it what it promises."""

import logging
import threading
import time

import pytest
from pydantic import ValidationError

from service.planted.engine import PlantedEngine, Runs
from service.planted.grammar import Fault, parse_faults
from service.settings import Settings

from .serving import FakeEngine, GatedEngine, loader_of, running


def planted(text, engine, clock=time.monotonic, sleep=time.sleep):
    faults = parse_faults(text)
    return PlantedEngine(engine, faults, Runs(faults), clock, sleep)


def test_the_setting_names_faults_with_their_times_and_runs():
    assert parse_faults("handler-sleep:20, lane-hung:1500@3,nan@2,serial-lanes") == (
        Fault("handler-sleep", 0.02),
        Fault("lane-hung", 1.5, 3),
        Fault("nan", 0.0, 2),
        Fault("serial-lanes"),
    )
    assert parse_faults("") == ()


@pytest.mark.parametrize("text", ["nan", "nan@0", "nan:3@1", "pace", "pace:x", "pace:5@1", "unknown", "serial-lanes:1"])
def test_a_fault_that_is_none_is_a_wrong_setting(text):
    with pytest.raises(ValidationError, match="expected"):
        Settings(planted_faults=text)


def test_none_are_planted_unless_the_setting_names_some(serve, caplog):
    service = serve()
    assert not isinstance(service.runtime.registry.find(None).model.engine, PlantedEngine)
    assert "planted_faults" not in service.client.get("/metrics").text
    assert "PLANTED" not in caplog.text


def test_planted_faults_are_said_out_loud(serve, caplog):
    caplog.set_level(logging.WARNING)
    service = serve(planted_faults="pace:1")
    assert "FAULTS ARE PLANTED" in caplog.text
    assert service.metric("planted_faults", faults="pace:1") == 1
    assert service.score("usb charger").json() == serve().score("usb charger").json()


@pytest.mark.parametrize("artifact", ["tiny_artifact", "split_artifact"])
def test_a_planted_model_scores_as_it_does_without(request, artifact):
    folder = request.getfixturevalue(artifact)
    with running(folder, planted_faults="pace:1,serial-lanes") as faulty, running(folder) as sound:
        assert faulty.score("usb charger", "hose").json() == sound.score("usb charger", "hose").json()


def test_a_paced_micro_batch_takes_what_is_left_of_its_time():
    times, slept = iter([10.0, 10.004]), []
    planted("pace:10", FakeEngine(), lambda: next(times), slept.append).score_pairs([("usb", "1")])
    assert slept == [pytest.approx(0.006)]
    times = iter([10.0, 10.02])
    planted("pace:10", FakeEngine(), lambda: next(times), slept.append).score_pairs([("usb", "1")])
    assert len(slept) == 1


def test_serial_lanes_run_one_after_another():
    engine = GatedEngine()
    serial = planted("serial-lanes", engine)
    threads = [threading.Thread(target=serial.score_pairs, args=([("usb", "1")],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    engine.wait_until_entered()
    assert not engine.entered.acquire(timeout=0.05)
    engine.open()
    engine.wait_until_entered()
    for thread in threads:
        thread.join(60)


def test_deadlines_that_are_ignored_give_late_answers(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), planted_faults="no-deadlines")
    with service.sending("/score", json=body(timeout_ms=1)) as late:
        engine.wait_until_entered()
        engine.open()
        assert late.result(60).status_code == 200


def test_a_handler_that_sleeps_is_in_the_total_time(serve):
    timing = serve(planted_faults="handler-sleep:20").score("usb").headers["server-timing"]
    assert float(timing.rpartition("total;dur=")[2]) >= 20


def test_a_model_that_gives_nan_costs_scores_and_no_request(serve):
    service = serve(planted_faults="nan@2")
    before = service.score("usb charger").json()
    broken = service.score("usb charger")
    assert broken.status_code == 200
    assert (broken.json()["scores"], broken.json()["reasons"]) == ([None], ["not_finite"])
    assert service.score("usb charger").json() == before


def test_an_error_of_the_model_costs_its_request_alone(serve):
    service = serve(planted_faults="exception@2")
    before = service.score("usb charger").json()
    failed = service.score("usb charger")
    assert failed.status_code == 500
    assert "ONNXRuntimeError" not in failed.text
    assert service.score("usb charger").json() == before
    assert service.metric("lane_failures_total") == 0


def test_a_hung_lane_costs_its_request_its_deadline_and_liveness_says_so(serve):
    service = serve(planted_faults="lane-hung:6000@1", lanes=2)
    answer = service.score("usb", timeout_ms=50)
    assert answer.status_code == 504
    # The other lane goes on.
    assert service.score("usb").status_code == 200
    service.wait_until(lambda: service.client.get("/health/live").status_code == 503)
    assert service.client.get("/health/ready").status_code == 200
    service.wait_until(lambda: service.client.get("/health/live").status_code == 200)


def body(**fields):
    return {"query": "usb", "products": [{"title": "1"}], **fields}

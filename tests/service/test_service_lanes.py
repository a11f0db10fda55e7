"""What ends a lane, and what does not."""

import itertools
import threading
import time

import pytest

from service.lanes import Lanes
from service.metrics import Metrics

from .serving import GatedEngine, loader_of


def test_a_lane_outlives_what_would_have_ended_it_and_its_request_is_answered_at_once(serve):
    service = serve(planted_faults="lane-killed@2", lanes=1)
    before = service.score("usb charger").json()
    # Its deadline is a minute away.
    assert service.score("usb charger").status_code == 500
    assert service.client.get("/health/live").json() == {"status": "live", "lanes": 1}
    assert service.score("usb charger").json() == before
    assert service.metric("lane_failures_total") == 1
    assert service.metric("queued_products") == 0


def test_a_killed_lane_costs_one_request_at_most(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1, planted_faults="lane-killed@2")
    with service.sending("/score", json=body()) as first:
        engine.wait_until_entered()
        with service.sending("/score", json=body()) as second, service.sending("/score", json=body()) as third:
            service.wait_until(lambda: service.metric("queued_products") == 3)
            engine.open()
            statuses = [each.result(60).status_code for each in (first, second, third)]
    # Joined, each runs again alone; else the one that met it fails.
    assert statuses.count(200) >= 2
    assert service.metric("lane_failures_total") == 1
    assert service.client.get("/health/live").status_code == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lane_that_cannot_take_work_is_not_alive():
    def begin(lane):
        raise SystemExit

    lanes = Lanes(1, time.monotonic, Metrics(), lambda *_: None, begin=begin)
    lanes.start()
    lanes.stop()
    assert lanes.alive() == 0


def test_lanes_that_hang_are_waited_for_together_not_one_after_another():
    go, started = threading.Event(), time.monotonic()
    times = iter([0.0, *[60.0] * 32])
    lanes = Lanes(32, lambda: next(times), Metrics(), lambda *_: None, begin=lambda _: go.wait(60))
    lanes.start()
    lanes.stop(timeout_s=5.0)
    # One after another they would take 160 s.
    assert time.monotonic() - started < 80
    times = itertools.repeat(0.0)
    go.set()


def body(**fields):
    return {"query": "usb", "products": [{"title": "1"}], **fields}

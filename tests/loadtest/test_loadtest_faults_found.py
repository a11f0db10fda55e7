"""The fault suite against servers that are wrong on purpose: each wrong is found."""

import contextlib
import json
import os
import signal
import sys

import pytest

from loadtest.faults import bombs, deadlines, models, surroundings
from loadtest.faults import signals as signal_faults
from loadtest.faults.liveness import check_alive
from loadtest.faults.scene import NotAsExpected, Scene
from loadtest.faults.suite import FAULTS, judge
from loadtest.faults.witness import Witness
from loadtest.servers import Server

from .raw_server import RawServer, reply, scored

SCORES = [0.5, 0.5, 0.5]
SOUND = {
    "shelfscore_queued_products": 0,
    "shelfscore_in_flight_requests": 1,
    "shelfscore_connections": 1,
    "shelfscore_lanes": 2,
    "shelfscore_lanes_alive": 2,
    'shelfscore_requests_total{route="/score",status="500"}': 0,
}


def named(name):
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    return fault


def answering(score, metrics=None, probe=200):
    """A server whose answer to a scoring request is `score(number)`; None ends the connection without one."""

    def answer(number, head, body):
        if head.startswith(b"GET /metrics"):
            text = "".join(f"{name} {value}\n" for name, value in {**SOUND, **(metrics or {})}.items()).encode()
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(text) + text
        if head.startswith(b"GET /health/"):
            return reply(probe, {})
        return score(number)

    return answer


def good(_=None):
    return reply(contents=scored(3))


@pytest.fixture
def scene_of():
    servers = []

    def start(answer, server=None):
        made = RawServer(answer)
        servers.append(made)
        return Scene(made.port, server, list(SCORES), patience_s=0.3)

    yield start
    for each in servers:
        each.stop()


def test_a_sound_server_is_taken_for_sound(scene_of):
    assert check_alive(scene_of(answering(good))) == "alive, same scores"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (answering(good, probe=503), "200 to /health/live"),
        (answering(lambda _: reply(contents={**scored(3), "scores": [0.5, 0.5, 0.5002]})), "not its scores"),
        (answering(lambda _: reply(contents=scored(2))), "not its scores"),
        (answering(lambda _: reply(contents={**scored(3), "scores": [0.5, None, 0.5]})), "not its scores"),
        (answering(lambda _: reply(503, {})), "still 503"),
        (answering(lambda _: reply(500, {})), "500 to a sound request"),
        (answering(good, {"shelfscore_queued_products": 3}), "nothing in the queue"),
        (answering(good, {"shelfscore_in_flight_requests": 2}), "no request in work"),
        (answering(good, {"shelfscore_connections": 30}), "its connections closed"),
        (answering(good, {'shelfscore_requests_total{route="/score",status="500"}': 1}), "1 answers with 500"),
    ],
)
def test_what_a_fault_left_behind_is_found(scene_of, answer, why):
    with pytest.raises(NotAsExpected, match=why):
        check_alive(scene_of(answer))


def test_a_process_that_died_is_found(scene_of, tmp_path):
    dead = Server.start([sys.executable, "-c", "raise SystemExit(3)"], 1, {}, tmp_path / "log")
    assert dead.exit_code(60) == 3
    with pytest.raises(NotAsExpected, match="ended with exit code 3"):
        check_alive(scene_of(answering(good), dead))


def test_a_planted_500_is_allowed_and_another_is_not(scene_of):
    scene = scene_of(answering(good, {'shelfscore_requests_total{route="/score",status="500"}': 1}))
    scene.planted_500s = 1
    assert check_alive(scene) == "alive, same scores"


@pytest.mark.parametrize(
    ("score", "why"),
    [
        (lambda number: None if number % 3 == 0 else good(), "no answer"),
        (lambda number: reply(500, {}) if number == 3 else good(), "1 x 500, planted 0"),
        (lambda number: reply(contents=scored(2)) if number == 3 else good(), "200 with other scores"),
        (lambda number: reply(418, {}) if number == 3 else good(), "status 418"),
    ],
)
def test_a_wrong_beside_a_fault_is_found(scene_of, score, why):
    scene = scene_of(answering(score))
    with pytest.raises(NotAsExpected, match=why), Witness(scene) as witness:
        scene.wait_until("enough", lambda: sum(witness.statuses.values()) >= 4 or not witness._thread.is_alive(), 10)


@pytest.mark.parametrize(
    ("score", "why"),
    [
        (lambda number: good() if number % 3 else None, "closed"),
        (lambda number: good() if number % 3 else b"HTTP/1.1 soon\r\n\r\n", "ValueError"),
    ],
)
def test_a_caller_that_ends_early_beside_a_busy_neighbour_is_found(scene_of, monkeypatch, score, why):
    monkeypatch.setattr(surroundings, "_BUSY_S", 0.3)
    seen = judge(named("busy neighbour"), scene_of(answering(score)), check=lambda _: "not looked at")
    assert (seen.held, why in seen.seen) == (False, True), seen.seen


def test_refusals_beside_a_fault_are_honest(scene_of):
    scene = scene_of(answering(lambda number: reply(503 if number % 2 else 504, {})))
    with Witness(scene) as witness:
        scene.wait_until("enough", lambda: sum(witness.statuses.values()) >= 4, 10)
    assert "x 503" in str(witness)


# Those that wait for an end of the connection, or an answer, which such a server does not give, take a while.
ANSWERED = [
    *(fault for fault in (*bombs.FAULTS, *deadlines.FAULTS) if fault.name != "gzip bomb of 256 MiB"),
    *(fault for fault in models.FAULTS if "SIGTERM" not in fault.name),
    *map(named, ("pipelining", "disconnect in the queue")),
]


@pytest.mark.parametrize("fault", ANSWERED, ids=lambda fault: fault.name)
def test_a_server_that_fails_at_everything_holds_nothing(scene_of, fault):
    scene = scene_of(answering(lambda _: reply(500, {})))
    seen = judge(fault, scene, check=lambda _: "not looked at")
    assert not seen.held, seen.seen


REFUSED = [fault for fault in ANSWERED if fault.name not in ("pipelining", "deadline huge")]


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: fault.name)
def test_a_server_that_takes_everything_holds_nothing_that_is_to_be_refused(scene_of, fault):
    seen = judge(fault, scene_of(answering(good)), check=lambda _: "not looked at")
    assert not seen.held, seen.seen


def test_a_lane_that_stays_dead_is_found(scene_of):
    scene = scene_of(
        answering(lambda number: reply(500, {}) if number == 20 else good(), {"shelfscore_lanes_alive": 1})
    )
    seen = judge(named("lane killed"), scene)
    assert (seen.held, seen.seen) == (False, "1 of 2 lanes are left")


def test_a_request_too_many_that_fails_with_the_planted_ones_is_found(scene_of):
    scene = scene_of(answering(lambda number: reply(500, {}) if number in (20, 21, 22) else good()))
    assert not judge(named("exception from ONNX Runtime"), scene).held


def test_nan_that_is_no_json_is_found(scene_of):
    nan = json.dumps({**scored(3), "scores": [float("nan")] * 3, "reasons": ["not_finite"] * 3})
    body = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(nan) + nan.encode()
    seen = judge(named("NaN from the model"), scene_of(answering(lambda number: body if number == 5 else good())))
    assert (seen.held, "nan" in seen.seen) == (False, True)


@pytest.mark.parametrize(
    ("handler", "seen"), [("lambda *_: sys.exit(7)", "exit code 7"), ("signal.SIG_IGN", "exit code None")]
)
def test_a_stop_that_is_not_clean_is_found(tmp_path, handler, seen):
    code = f"import signal, sys, time; signal.signal(signal.SIGTERM, {handler}); print(flush=True); time.sleep(60)"
    server = Server.start([sys.executable, "-c", code], 1, {}, tmp_path / "log")
    scene = Scene(1, server)
    try:
        scene.wait_until("its handler", lambda: bool(server.log.read_bytes()), 60)
        with pytest.raises(NotAsExpected, match=seen):
            signal_faults._stop(scene, 0.5)
    finally:
        # It does not hear a polite end.
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)
        server.stop()

"""The generator, in its own process, against servers that answer as each test wants."""

import multiprocessing
import os
import signal
import threading

import pytest

from loadtest.client import Endpoint
from loadtest.errors import LoadtestError
from loadtest.generator.plan import Plan
from loadtest.generator.process import Generator, play
from loadtest.generator.wire import WireAnswer, judge_answer, wire_request
from loadtest.measure import Outcome

from .raw_server import RawServer, reply, scored

HELD_S = 60


@pytest.fixture
def serve():
    servers = []

    def start(answer):
        servers.append(RawServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def plan(server, arrivals=(), *, body=b"{}", abandon_s=None, **options):
    endpoint = Endpoint.parse(f"http://127.0.0.1:{server.port}")
    requests = [wire_request(endpoint, body, 1, abandon_s=abandon_s)]
    return Plan("127.0.0.1", server.port, requests, arrivals=list(arrivals), **options)


def at_once(count):
    return [(number / 1000, 0) for number in range(count)]


def test_every_arrival_is_sent_and_kept(serve):
    server = serve(lambda *_: reply())
    played = play(plan(server, at_once(40)))
    assert len(server.requests) == len(played.samples) == 40
    assert sorted(sample.due_s for sample in played.samples) == [due_s for due_s, _ in at_once(40)]
    assert {sample.outcome for sample in played.samples} == {Outcome.ACCEPTED}
    assert all(sample.due_s <= sample.sent_s <= sample.done_s for sample in played.samples)
    assert not played.unfinished
    assert not played.stopped


def test_a_polite_end_of_the_whole_group_loses_no_sample(serve):
    answered = threading.Event()

    def answer(*_):
        return reply() if answered.wait(HELD_S) else None

    with Generator(plan(serve(answer), at_once(20), timeout_s=HELD_S)) as generator:
        generator.wait_started()
        (child,) = multiprocessing.active_children()
        os.kill(child.pid, signal.SIGTERM)
        answered.set()
        played = generator.wait()
    assert [sample.outcome for sample in played.samples] == [Outcome.ACCEPTED] * 20


def test_arrivals_do_not_wait_for_answers(serve):
    all_here = threading.Event()

    def answer(number, *_):
        if number == 30:
            all_here.set()
        # A closed loop would wait here for ever.
        return reply() if all_here.wait(HELD_S) else None

    played = play(plan(serve(answer), at_once(30), timeout_s=HELD_S))
    assert [sample.outcome for sample in played.samples] == [Outcome.ACCEPTED] * 30
    assert played.connections == 30


def test_a_closed_loop_uses_its_connection_again(serve):
    server = serve(lambda *_: reply())
    played = play(plan(server, in_flight=1, duration_s=HELD_S, count=25))
    assert len(played.samples) == 25
    assert played.connections == len({connection for connection, _ in server.requests}) == 1


def test_a_refusal_keeps_its_retry_after(serve):
    server = serve(lambda *_: reply(503, {}, [("Retry-After", "7")]))
    (sample,) = play(plan(server, at_once(1))).samples
    assert (sample.outcome, sample.status, sample.retry_after) == (Outcome.SHED, 503, "7")


def test_the_servers_own_timing_and_the_deadline_stand_beside_an_answer(serve):
    timing = [("Server-Timing", "queue;dur=0.5, total;dur=12.25")]
    server = serve(lambda number, *_: reply(200, scored(), timing if number == 1 else ()))
    endpoint = Endpoint.parse(f"http://127.0.0.1:{server.port}")
    requests = [wire_request(endpoint, b"{}", 1, {"x-request-timeout-ms": "75"})]
    first, second = play(Plan("127.0.0.1", server.port, requests, in_flight=1, duration_s=HELD_S, count=2)).samples
    assert (first.server_ms, first.stages_ms) == (12.25, (("queue", 0.5), ("total", 12.25)))
    assert (first.products, first.deadline_ms, first.sent) == (1, 75, True)
    assert (second.server_ms, second.stages_ms) == (None, ())


def test_an_answer_in_pieces_is_read_whole(serve):
    whole = reply(200, scored(), [("x-model-version", "v1")])
    body = whole.partition(b"\r\n\r\n")[2]
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nX-Model-Version: v1\r\n\r\n"
    chunked = head + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    server = serve(lambda number, *_: (whole, chunked)[number % 2])
    played = play(plan(server, in_flight=1, duration_s=HELD_S, count=6))
    assert [(sample.outcome, sample.model_version) for sample in played.samples] == [(Outcome.ACCEPTED, "v1")] * 6


def test_a_connection_that_breaks_is_a_failure(serve):
    server = serve(lambda number, *_: None if number == 2 else reply())
    played = play(plan(server, in_flight=1, duration_s=HELD_S, count=4))
    failed = [sample for sample in played.samples if sample.outcome is Outcome.FAILED]
    assert len(played.samples) == 4
    assert [sample.reason for sample in failed] == ["the server closed the connection"]
    assert played.connections == 2


def test_what_is_not_http_is_a_failure(serve):
    (sample,) = play(plan(serve(lambda *_: b"ho ho ho\r\n\r\n"), at_once(1))).samples
    assert sample.outcome is Outcome.FAILED
    assert sample.status is None


def test_no_server_is_a_failure(serve):
    server = serve(lambda *_: reply())
    gone = plan(server, at_once(2))
    server.stop()
    played = play(gone)
    assert {sample.reason for sample in played.samples} == {"no connection: ConnectionRefusedError"}


def test_an_answer_that_never_comes_is_a_failure(serve):
    server = serve(lambda *_: reply() if server.closed_early.wait(HELD_S) else None)
    (sample,) = play(plan(server, at_once(1), timeout_s=0.2)).samples
    assert (sample.outcome, sample.reason) == (Outcome.FAILED, "no answer within 0.2 s")
    assert sample.answer_ms > 190


def test_connections_are_bounded_and_what_finds_none_is_not_sent(serve):
    go = threading.Event()

    def answer(number, *_):
        return reply() if go.wait(HELD_S) else None

    server = serve(answer)
    with Generator(plan(server, at_once(10), max_connections=3, timeout_s=HELD_S)) as generator:
        generator.wait_started()
        while len(server.requests) < 3:
            threading.Event().wait(0.01)
        played_later = threading.Timer(0.5, go.set)
        played_later.start()
        played = generator.wait()
    reasons = [sample.reason for sample in played.samples]
    assert len(server.requests) + reasons.count("not sent: 3 connections are in use") == 10
    assert sum(sample.sent for sample in played.samples) == len(server.requests)
    assert played.connections == 3


def test_a_caller_that_leaves_closes_its_connection(serve):
    server = serve(lambda *_: reply() if server.closed_early.wait(HELD_S) else None)
    played = play(plan(server, at_once(1), abandon_s=0.1, timeout_s=HELD_S))
    assert played.abandoned == 1
    assert played.samples == []


def test_a_stop_gives_what_was_measured(serve):
    server = serve(lambda *_: reply())
    with Generator(plan(server, [*at_once(5), (10_000.0, 0)])) as generator:
        seen = []

        def enough(ended):
            seen.append(ended)
            if ended >= 5:
                generator.stop()

        played = generator.wait(enough)
    assert played.stopped
    assert len(played.samples) == 5
    assert max(seen) == 5


def test_a_generator_that_dies_is_one_line(serve):
    generator = Generator(plan(serve(lambda *_: reply()), [(10_000.0, 0)]))
    generator._process.kill()
    with pytest.raises(LoadtestError, match="the load generator died"):
        generator.wait()


def test_the_plans_time_is_the_systems(serve):
    with Generator(plan(serve(lambda *_: reply()), at_once(1))) as generator:
        start_s = generator.wait_started()
        assert generator.wait().start_s == start_s


@pytest.mark.parametrize(
    ("status", "contents", "version", "outcome"),
    [
        (200, scored(2), None, Outcome.ACCEPTED),
        (200, scored(2, "v1"), "v1", Outcome.ACCEPTED),
        (200, scored(2, complete=False), None, Outcome.LATE),
        (200, scored(2, "v1"), "v2", Outcome.FAILED),
        (200, scored(3), None, Outcome.FAILED),
        (200, {"scores": [1, 2]}, None, Outcome.FAILED),
        (200, [], None, Outcome.FAILED),
        (503, {}, None, Outcome.SHED),
        (504, {}, None, Outcome.LATE),
        (422, {}, None, Outcome.FAILED),
    ],
)
def test_an_answer_is_judged_by_its_status_and_its_scores(status, contents, version, outcome):
    body = reply(status, contents).partition(b"\r\n\r\n")[2]
    assert judge_answer(WireAnswer(status, body, None, version), 2).outcome is outcome


def test_tls_is_refused():
    with pytest.raises(LoadtestError, match="does not speak TLS"):
        wire_request(Endpoint.parse("https://example.org"), b"{}", 1)


def test_headers_and_prefix_are_sent():
    request = wire_request(Endpoint.parse("http://h:81/api"), b"{}", 1, {"x-request-timeout-ms": "5"})
    assert request.data.startswith(b"POST /api/score HTTP/1.1\r\nhost: h:81\r\n")
    assert b"\r\nx-request-timeout-ms: 5\r\n" in request.data
    assert request.data.endswith(b"content-length: 2\r\nx-request-timeout-ms: 5\r\n\r\n{}")

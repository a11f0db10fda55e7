"""How many connections there may be, and how long each may keep the server waiting, over bare connections."""

import contextlib
import json
import socket
import threading

import pytest

from service.answer import render_head
from service.connections import RESERVE, Waiting, make_room_for_files
from service.parsing import MAX_HEADERS
from service.protocol import MAX_PIPELINED

from .serving import GatedEngine, loader_of

BODY = b'{"query": "usb", "products": [{"title": "1"}]}'
POST = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
SCORE = POST + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
LIVE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
# Long enough for a busy machine to send what comes in time.
SOON = {"head_timeout_ms": 500, "write_timeout_ms": 500}


def all_of(raw):
    """What comes until the server closes."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := raw.recv(65536):
            answer += piece
    return answer


def sends_until_cut(raw, pieces):
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            raw.sendall(piece)
        return False
    return True


def problem_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    return json.loads(body)


class Late:
    def __init__(self):
        self.now = 0.0
        self.ended = []
        self.waiting = Waiting(10.0, lambda: self.now, self.ended.append)


def test_those_that_wait_are_ended_in_order_once_and_not_before_their_time():
    late = Late()
    for late.now, each in ((0.0, "a"), (1.0, "b"), (2.0, "c"), (3.0, "a")):
        late.waiting.add(each)
    late.waiting.discard("b")
    late.waiting.discard("b")
    late.now = 9.9
    late.waiting.end_late()
    assert late.ended == []
    late.now = 12.0
    late.waiting.end_late()
    late.waiting.end_late()
    assert late.ended == ["a", "c"]


def test_one_that_stops_waiting_and_begins_again_has_all_its_time():
    late = Late()
    late.waiting.add("a")
    late.now = 9.0
    late.waiting.discard("a")
    late.waiting.add("a")
    late.now = 18.0
    late.waiting.end_late()
    assert late.ended == []
    late.now = 19.0
    late.waiting.end_late()
    assert late.ended == ["a"]


def test_408_for_a_head_that_does_not_arrive(serve):
    service = serve(**SOON)
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(LIVE + b"GET /health/live HTTP/1.1\r\nhost: ")
        first, second = all_of(raw).split(b"HTTP/1.1 408 ")
    assert first.startswith(b"HTTP/1.1 200 ")
    assert problem_of(second)["status"] == 408
    assert service.metric("refused_connections_total", reason="late_head") == 1


def test_a_head_that_trickles_is_cut_off_all_the_same(serve):
    service = serve(**SOON)
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(b"GET /health/live HTTP/1.1\r\n")
        raw.settimeout(0.005)
        with contextlib.suppress(ConnectionError):
            while True:
                raw.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    assert raw.recv(65536).startswith(b"HTTP/1.1 408 ")
                    break


def test_a_connection_that_brings_nothing_is_closed_without_a_word(serve):
    with contextlib.closing(serve(**SOON).raw()) as raw:
        assert all_of(raw) == b""


def test_a_head_that_trickles_behind_a_request_in_work_does_not_cost_that_one_its_answer(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), **SOON)
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(SCORE + b"GET /health/live HTTP/1.1\r\nhost: ")
        engine.wait_until_entered()
        while service.metric("refused_connections_total", reason="late_head") != 1:
            pass
        engine.open()
        answer = all_of(raw)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert b'"complete":true' in answer


def test_a_body_that_nobody_reads_may_not_trickle(serve):
    service = serve(**SOON)
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx")
        assert all_of(raw).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_nobody_reads_may_not_go_on_for_ever(service):
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        assert sends_until_cut(raw, (chunk for _ in range(10_000)))


def test_a_body_that_was_refused_may_end_and_its_connection_goes_on(serve):
    service = serve(max_body_bytes=1000)
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(POST + b"content-length: 100000\r\n\r\n" + b"x" * 50_000)
        assert raw.recv(65536).startswith(b"HTTP/1.1 413 ")
        raw.sendall(b"x" * 50_000 + SCORE)
        assert raw.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_caller_that_does_not_read_its_answers_is_cut_off(serve):
    service = serve(**SOON)
    sent = 0
    with contextlib.closing(socket.socket()) as raw, contextlib.suppress(ConnectionError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", service.port))
        while not service.metric("refused_connections_total", reason="slow_reader"):
            if service.metric("requests_total", route="/openapi.json", status="200") == sent:
                raw.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n")
                sent += 1
            threading.Event().wait(0.001)
    assert service.score("usb").status_code == 200
    while service.metric("in_flight_requests"):
        pass


def test_an_idle_connection_is_closed(serve):
    with contextlib.closing(serve(keep_alive_s=1).raw()) as raw:
        raw.sendall(LIVE)
        assert all_of(raw).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("count", "status"), [(MAX_HEADERS, b"200"), (MAX_HEADERS + 1, b"431")])
def test_431_for_too_many_headers_however_small(service, count, status):
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(b"GET /health/live HTTP/1.1\r\n" + b"x: y\r\n" * count + b"\r\n")
        assert raw.recv(65536).startswith(b"HTTP/1.1 %b " % status)


def test_a_trailer_is_no_header(serve):
    service = serve(api_keys="right")
    chunks = b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n%b\r\n\r\n"
    for head, trailer, status in (
        (POST, b"authorization: Bearer right", b"401"),
        (POST + b"authorization: Bearer right\r\n", b"x-request-timeout-ms: wrong", b"200"),
    ):
        with contextlib.closing(service.raw()) as raw:
            raw.sendall(head + chunks % trailer)
            assert raw.recv(65536).startswith(b"HTTP/1.1 %b " % status)


def test_pipelined_requests_are_answered_in_order(service):
    titles = [str(i) for i in range(MAX_PIPELINED + 1)]
    with contextlib.closing(service.raw()) as raw:
        ids = [b"x-request-id: %d\r\n\r\n" % i for i in range(len(titles))]
        raw.sendall(b"".join(LIVE[:-2] + each for each in ids[:-1]) + LIVE[:-2] + b"connection: close\r\n" + ids[-1])
        answers = all_of(raw).split(b"HTTP/1.1 200 ")[1:]
    assert [answer.split(b"x-request-id: ")[1].split(b"\r\n")[0].decode() for answer in answers] == titles


def test_more_pipelined_requests_than_may_wait_end_the_connection_behind_those_that_may(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine))
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(SCORE)
        engine.wait_until_entered()
        raw.sendall(LIVE * (MAX_PIPELINED + 10_000))
        while service.metric("refused_connections_total", reason="pipelined") != 1:
            pass
        engine.open()
        assert all_of(raw).count(b"HTTP/1.1 200 ") == 1 + MAX_PIPELINED


def test_what_is_not_http_behind_a_request_is_not_taken_for_its_answer(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine))
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(SCORE + b"HELLO THERE\r\n\r\n")
        engine.wait_until_entered()
        engine.open()
        answer = all_of(raw)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_that_breaks_in_the_middle_is_answered_and_its_request_forgotten(serve):
    service = serve()
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(POST + b"transfer-encoding: chunked\r\n\r\n5\r\n{")
        while service.metric("in_flight_requests") != 1:
            pass
        raw.sendall(b"xxxxno chunk")
        assert problem_of(all_of(raw))["status"] == 400
    while service.metric("score_requests_total", outcome="gone", reason="client_gone") != 1:
        pass
    while service.metric("in_flight_requests"):
        pass


def test_a_body_that_breaks_behind_a_request_in_work_leaves_that_one_its_answer(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine))
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(SCORE + POST + b"transfer-encoding: chunked\r\n\r\nno chunk")
        engine.wait_until_entered()
        engine.open()
        answer = all_of(raw)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert service.metric("score_requests_total", outcome="gone", reason="client_gone") == 0


def test_a_pipelining_caller_that_leaves_is_noticed(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine))
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(SCORE)
        engine.wait_until_entered()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    while service.metric("score_requests_total", outcome="gone", reason="client_gone") != 1:
        pass
    engine.open()
    assert service.score("2").status_code == 200


def ask(raw, request):
    raw.sendall(request)
    return raw.recv(65536)


@pytest.fixture
def full(serve):
    """A server with as many connections as it may have, and one of them."""
    service = serve(max_connections=2)
    with contextlib.closing(service.raw()) as raw:
        assert ask(raw, LIVE).startswith(b"HTTP/1.1 200 ")
        assert service.metric("connections") == 2
        yield service, raw


def test_503_for_a_connection_too_many_with_its_request_read(full):
    service, _ = full
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(SCORE)
        answer = all_of(raw)
    assert problem_of(answer)["status"] == 503
    assert b"retry-after: 1\r\n" in answer
    assert service.metric("refused_connections_total", reason="connections") == 1
    assert service.score("usb").status_code == 200


@pytest.mark.parametrize("path", [b"/health/live", b"/health/ready", b"/metrics"])
def test_a_probe_gets_in_however_many_connections_there_are(full, path):
    service, _ = full
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(contextlib.closing(service.raw())) for _ in range(4 * RESERVE)]
        probe = stack.enter_context(contextlib.closing(service.raw()))
        probe.sendall(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)
        answer = all_of(probe)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in answer
        # The oldest had to make room.
        assert problem_of(all_of(silent[0]))["status"] == 503
        assert service.metric("connections") <= 3 + RESERVE


def test_a_probe_does_not_open_the_way_for_other_requests(full):
    service, _ = full
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(LIVE + SCORE)
        answer = all_of(raw)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"complete"' not in answer


def test_a_connection_that_waited_above_the_limit_is_one_like_any_other_once_there_is_room(full):
    service, other = full
    with contextlib.closing(service.raw()) as raw:
        while service.metric("connections") != 3:
            pass
        other.close()
        while service.metric("connections") != 2:
            pass
        assert ask(raw, SCORE).startswith(b"HTTP/1.1 200 ")
        assert ask(raw, SCORE).startswith(b"HTTP/1.1 200 ")


def test_many_slow_connections_leave_others_alone_and_are_all_ended(serve):
    service = serve(head_timeout_ms=2000)
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(300):
            slow.append(stack.enter_context(contextlib.closing(service.raw())))
            slow[-1].sendall(b"GET /health/live HTTP/1.1\r\nx: ")
        assert service.score("usb").status_code == 200
        assert all(b"HTTP/1.1 408 " in all_of(each) for each in slow)
    while service.metric("connections") != 1:
        pass


def test_the_limit_of_open_files_is_raised_to_that_of_connections_or_a_warning_says_it_is_not(monkeypatch, caplog):
    import resource

    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    make_room_for_files(10)
    assert limits == [(1024, 4096)]
    make_room_for_files(2000)
    assert 2000 < limits[-1][0] < 4096
    assert not caplog.records
    make_room_for_files(5000)
    assert limits[-1] == (4096, 4096)
    assert "below that of connections" in caplog.text


def test_a_header_of_an_answer_cannot_become_two():
    assert render_head(200, [(b"a", b"b")]) == b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"
    with pytest.raises(ValueError, match="line break"):
        render_head(200, [(b"a", b"b\r\nset-cookie: c")])

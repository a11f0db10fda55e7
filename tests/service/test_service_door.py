"""Requests that are refused by their heads alone, over real sockets."""

import json
import re

import pytest

from service.early_refusal import EarlyRefusal

from .serving import GatedEngine, loader_of
from .test_service_errors import is_problem

BODY = {"query": "usb", "products": [{"title": "1"}] * 100}


@pytest.fixture
def overloaded(serve, monkeypatch):
    """Starts a service whose one lane is held up by a first request, and which has refused a second one."""
    monkeypatch.setattr("service.early_refusal.READ_ANYWAY", 10**12)
    monkeypatch.setattr("service.early_refusal.STRICT_FOR_S", 600.0)
    engine, held = GatedEngine(), []

    def start(**settings):
        service = serve(load=loader_of(engine), lanes=1, max_backlog_ms=1, **settings)
        headers = {"authorization": f"Bearer {settings['api_keys'][0]}"} if settings else {}
        service.client.headers.update(headers)
        engine.open()
        assert service.client.post("/score", json=BODY).status_code == 200
        engine.close()
        sending = service.sending("/score", json=BODY)
        held.append((sending, sending.__enter__()))
        engine.wait_until_entered()
        is_problem(service.client.post("/score", json=BODY), 503)
        return service

    yield start
    engine.open()
    for sending, first in held:
        assert first.result(60).status_code == 200
        sending.__exit__(None, None, None)


def head(length, *lines):
    return "\r\n".join(
        [
            "POST /score HTTP/1.1",
            "host: x",
            "content-type: application/json",
            f"content-length: {length}",
            *lines,
            "",
            "",
        ]
    ).encode()


def read_answer(connection):
    """(status, headers, body) of one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    top, _, rest = data.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in top.decode().split("\r\n")[1:])
    while len(rest) < int(headers["content-length"]):
        rest += connection.recv(65536)
    assert len(rest) == int(headers["content-length"])
    return int(top.split()[1]), headers, rest


def test_the_answer_is_there_before_the_body_has_come(overloaded):
    service = overloaded()
    with service.raw() as connection:
        connection.sendall(head(10_000, "x-request-id: abc"))
        status, headers, body = read_answer(connection)
    assert status == 503
    assert int(headers["retry-after"]) >= 1
    assert headers["x-request-id"] == "abc"
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-content-type-options"] == "nosniff"
    assert json.loads(body)["request_id"] == "abc"


def test_it_is_the_same_answer_as_that_of_the_application_but_for_its_id_and_time(overloaded):
    service = overloaded()
    content = json.dumps(BODY).encode()
    headers = {"content-type": "application/json"}
    by_door = service.client.post("/score", headers=headers, content=content)
    # A body in pieces is one that only the application can judge.
    by_application = service.client.post("/score", headers=headers, content=iter([content]))
    assert by_door.status_code == by_application.status_code == 503
    assert sorted(by_door.headers) == sorted(by_application.headers)
    assert [by_door.json()[key] for key in ("type", "title", "status")] == [
        by_application.json()[key] for key in ("type", "title", "status")
    ]
    numbers = re.compile(r"\d+")
    assert numbers.sub("n", by_door.json()["detail"]) == numbers.sub("n", by_application.json()["detail"])


def test_the_connection_goes_on_behind_a_body_that_nobody_read(overloaded):
    service = overloaded()
    content = json.dumps(BODY).encode()
    with service.raw() as connection:
        for _ in range(3):
            connection.sendall(head(len(content)))
            assert read_answer(connection)[0] == 503
            connection.sendall(content)
        connection.sendall(b"GET /health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200


def test_pipelined_requests_are_answered_in_their_order(overloaded):
    service = overloaded()
    ready, content = b"GET /health/ready HTTP/1.1\r\nhost: x\r\n\r\n", b"x" * 5000
    with service.raw() as connection:
        connection.sendall(head(len(content)) + content + ready + head(len(content)) + content)
        assert [read_one(connection) for _ in range(3)] == [503, 200, 503]


def read_one(connection):
    """The status of one answer, byte by byte, since the next one may follow at once."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += connection.recv(1)
    length = int(re.search(rb"content-length: (\d+)", data)[1])
    while length:
        length -= len(connection.recv(length))
    return int(data.split()[1])


def test_a_refusal_is_counted_and_timed_like_any_other(overloaded):
    service = overloaded()
    counted = {"route": "/score", "status": "503"}
    shed = {"outcome": "shed", "reason": "backlog_full"}
    before = service.metric("requests_total", **counted), service.metric("score_requests_total", **shed)
    with service.raw() as connection:
        connection.sendall(head(10_000))
        read_answer(connection)
    assert service.metric("requests_total", **counted) == before[0] + 1
    assert service.metric("score_requests_total", **shed) == before[1] + 1


def test_what_is_wrong_with_a_request_is_said_all_the_same(overloaded):
    service = overloaded()
    content = json.dumps(BODY).encode()
    usual = {"content-type": "application/json"}
    sent = (
        {"content-type": "text/plain"},
        {**usual, "x-request-timeout-ms": "soon"},
        {**usual, "content-encoding": "br"},
    )
    statuses = [service.client.post("/score", content=content, headers=headers).status_code for headers in sent]
    assert statuses == [415, 422, 415]
    assert service.client.post("/score", content=b"x" * 3_000_000, headers=usual).status_code == 413


def test_without_its_key_a_caller_is_told_so_and_not_that_there_is_no_room(overloaded):
    service = overloaded(api_keys=("secret",))
    with service.raw() as connection:
        connection.sendall(head(10_000, "authorization: Bearer secret"))
        assert read_answer(connection)[0] == 503
    assert service.client.post("/score", json=BODY, headers={"authorization": "Bearer wrong"}).status_code == 401


def test_a_caller_that_asks_before_it_sends_and_one_that_goes_afterwards_are_read(overloaded):
    service = overloaded()
    content = json.dumps(BODY).encode()
    for lines, first in (("expect: 100-continue",), 100), (("connection: close",), 503):
        with service.raw() as connection:
            connection.sendall(head(len(content), *lines))
            if first == 100:
                assert connection.recv(65536).startswith(b"HTTP/1.1 100")
            connection.sendall(content)
            assert read_answer(connection)[0] == 503


def test_whoever_is_let_in_has_its_turn_whatever_becomes_of_it(overloaded, monkeypatch):
    service = overloaded(api_keys=("secret",))
    let_in, turns = [], []
    monkeypatch.setattr("service.early_refusal.EarlyRefusal._is_anyway", lambda *_: False)
    before = EarlyRefusal.let_in, EarlyRefusal.its_turn
    monkeypatch.setattr(EarlyRefusal, "let_in", lambda *args: let_in.append(before[0](*args)) or let_in[-1])
    monkeypatch.setattr(EarlyRefusal, "its_turn", lambda self, each: turns.append(each) or before[1](self, each))
    # The key is taken back between the door and the application.
    monkeypatch.setattr("service.middleware.auth.is_admitted", lambda *_: False)
    for _ in range(3):
        assert service.client.post("/score", json=BODY).status_code == 401
    assert len(let_in) == 3
    assert turns == let_in


def test_of_two_keys_the_first_counts_at_the_door_too(overloaded):
    service = overloaded(api_keys=("secret",))
    with service.raw() as connection:
        connection.sendall(head(5, "authorization: Bearer wrong", "authorization: Bearer secret") + b"12345")
        assert read_answer(connection)[0] == 401


def test_many_requests_sent_ahead_are_not_all_answered_at_once(overloaded):
    service = overloaded()
    with service.raw() as connection:
        connection.sendall((head(5) + b"12345") * 200)
        connection.shutdown(1)
        data = b""
        while piece := connection.recv(65536):
            data += piece
    # As many as may be refused at once, one in work, as many as may wait; then the connection is ended.
    assert 0 < data.count(b"HTTP/1.1 503") <= 2 * 16 + 1


def test_what_breaks_at_the_door_is_answered_by_the_application(overloaded, monkeypatch):
    service = overloaded()
    monkeypatch.setattr("service.door.Door._plain_length", lambda *_: 1 / 0)
    assert service.client.post("/score", json=BODY).status_code == 503

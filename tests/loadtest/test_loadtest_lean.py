"""The closed loops' connection reads what http.client reads, and refuses what it cannot."""

import json
import socket
import threading
from contextlib import closing
from http.client import HTTPException

import pytest

from loadtest.benchmarks.lean import LeanConnection
from loadtest.client import JSON_HEADERS, Connection, Endpoint
from loadtest.traffic.requests import make_request

REQUEST = make_request("usb charger", [{"title": f"usb charger {i} é"} for i in range(900)])


@pytest.fixture
def answering():
    """A server that answers one connection with the given bytes, in the given pieces, and closes it."""
    listeners = []

    def start(*pieces):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve():
            accepted, _ = listener.accept()
            with accepted:
                accepted.recv(1 << 16)
                for piece in pieces:
                    accepted.sendall(piece)

        threading.Thread(target=serve, daemon=True).start()
        return LeanConnection(Endpoint("", "127.0.0.1", listener.getsockname()[1], ""), 30)

    yield start
    for listener in listeners:
        listener.close()


def test_it_gets_the_same_answers_as_a_full_client(start_service):
    service = start_service()
    lean, full = (kind(Endpoint.parse(service.url), 30) for kind in (LeanConnection, Connection))
    replies = [one.request("POST", "/score", REQUEST.body, JSON_HEADERS) for one in (lean, full)]
    assert replies[0] == replies[1]
    assert len(json.loads(replies[0].body)["scores"]) == 900
    assert "inference;dur=" in replies[0].server_timing
    assert lean.request("GET", "/models").body == full.request("GET", "/models").body
    lean.close()
    full.close()


def test_one_connection_serves_many_requests(start_service, ask):
    service = start_service()
    with closing(LeanConnection(Endpoint.parse(service.url), 30)) as lean:
        for _ in range(5):
            lean.refresh()
            assert lean.request("POST", "/score", REQUEST.body, JSON_HEADERS).status == 200
            assert lean.alive()
    seen = ask(service.url, "/seen")
    assert len(seen) == 5
    assert len({one["connection"] for one in seen}) == 1


def test_a_connection_that_was_closed_is_opened_again(start_service):
    service = start_service()
    lean = LeanConnection(Endpoint.parse(service.url), 30)
    lean.request("GET", "/models")
    lean.close()
    assert not lean.alive()
    lean.refresh()
    assert lean.request("GET", "/models").status == 200
    service.stop()
    assert not lean.alive()
    lean.close()


def test_no_server_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        LeanConnection(Endpoint.parse(f"http://127.0.0.1:{port}"), 30).request("GET", "/")


def test_an_answer_may_come_in_pieces(answering):
    lean = answering(b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 6\r\nServer-Timing: total;dur=1\r\n\r", b"\nabc", b"def")
    reply = lean.request("POST", "/score", b"{}", JSON_HEADERS)
    assert (reply.status, reply.body, reply.server_timing) == (200, b"abcdef", "total;dur=1")
    lean.close()


def test_a_server_that_says_it_closes_is_believed(answering):
    lean = answering(b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
    assert lean.request("GET", "/").status == 503
    assert not lean.alive()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_what_is_no_whole_answer_is_an_error(answering, answer):
    lean = answering(answer)
    with pytest.raises((HTTPException, OSError)):
        lean.request("POST", "/score", b"{}", JSON_HEADERS)
    assert not lean.alive()

"""The bound on a request's head, over bare connections."""

import contextlib

import pytest

from service.protocol import MAX_HEAD_BYTES

BODY = b'{"query": "usb", "products": [{"title": "usb"}]}'


def answer_to(service, *pieces):
    """What comes back until the server closes, or a whole answer has come."""
    with contextlib.closing(service.raw()) as raw, contextlib.suppress(ConnectionError):
        for piece in pieces:
            raw.sendall(piece)
        return raw.recv(65536)
    return b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live?" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-long: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nhost: x\r\n" + b"x-many: 12345\r\n" * (MAX_HEAD_BYTES // 10) + b"\r\n",
    ],
    ids=["url", "header", "headers"],
)
def test_431_for_a_head_over_the_limit(service, head):
    answer = answer_to(service, head)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in answer
    assert b"connection: close" in answer
    assert service.score("usb").status_code == 200


def test_431_for_a_header_that_never_ends(service):
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-endless: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                raw.sendall(b"x" * 16_384)
            pytest.fail("the server went on reading")
    assert service.score("usb").status_code == 200


def test_a_head_just_below_the_limit_is_served_whether_it_comes_at_once_or_in_pieces(service):
    head = b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-long: " + b"x" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n"
    assert answer_to(service, head).startswith(b"HTTP/1.1 200 ")
    assert answer_to(service, *[head[i : i + 1000] for i in range(0, len(head), 1000)]).startswith(b"HTTP/1.1 200 ")


def test_bodies_do_not_count_as_heads(service):
    body = BODY[:-1] + b" " * (3 * MAX_HEAD_BYTES) + b"}"
    head = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    whole = head % len(body) + body
    with contextlib.closing(service.raw()) as raw:
        for _ in range(3):
            raw.sendall(whole)
            assert raw.recv(65536).startswith(b"HTTP/1.1 200 ")

"""The bound on what the parser keeps, and upgrades that are offered, over bare connections."""

import contextlib

import pytest

from service.parsing import MAX_HEAD_BYTES

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
    assert b"x-content-type-options: nosniff" in answer
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


@pytest.mark.parametrize("endless", [b"0\r\nx-endless: ", b"5;"], ids=["trailer", "chunk extension"])
def test_a_chunked_body_cannot_make_the_parser_keep_more_than_a_head(service, endless):
    head = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(head + endless)
        with contextlib.suppress(ConnectionError):
            for _ in range(4000):
                raw.sendall(b"x" * 16_384)
            pytest.fail("the server went on reading")
    assert service.score("usb").status_code == 200


@pytest.mark.parametrize("offered", [b"h2c", b"websocket"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_an_offer_to_upgrade_is_declined_and_its_body_is_read(service, offered, framing, size):
    head = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: %b\r\nhttp2-settings: AAMAAABk\r\n" % offered
    if framing == "length":
        body = b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    else:
        body = b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
    for request in (head + offer + body, head + offer + body + head + body):
        with contextlib.closing(service.raw()) as raw:
            for start in range(0, len(request), size):
                raw.sendall(request[start : start + size])
            answers = b""
            while answers.count(b'"complete"') < request.count(b"POST"):
                piece = raw.recv(65536)
                assert piece, answers
                answers += piece
            assert answers.count(b"HTTP/1.1 200 ") == request.count(b"POST")


def test_an_offer_to_upgrade_without_a_body_is_answered_as_if_it_were_none(service):
    head = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    assert answer_to(service, head).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("target", [b"x:1", b"/", b"/health/live"])
def test_connect_is_answered_once_and_ends_the_connection(service, target):
    answer = answer_to(service, b"CONNECT %b HTTP/1.1\r\nhost: x\r\n\r\n" % target)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 48\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 48\r\n",
        b"content-length: 48\r\ncontent-length: 3\r\n",
        b"content-length: 48\r\ncontent-length: 48\r\n",
        b"content-length: +48\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding : chunked\r\n",
        b"x: a\r\n content-length: 48\r\n",
        b"x: a\rcontent-length: 48\r\n",
        b"x: a\ncontent-length: 48\r\n",
        b"x: a\x00\r\ncontent-length: 48\r\n",
    ],
)
def test_400_where_two_readers_could_disagree_on_the_end_of_a_request(service, head):
    chunked = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
    request = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + head + b"\r\n"
    answer = answer_to(service, request + (chunked if b"chunked" in head else BODY))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer


def test_a_path_is_decoded_unless_it_is_so_long_that_it_leads_nowhere(service):
    assert answer_to(service, b"GET /%6dodels HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    long = b"GET /" + b"%41" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"
    assert answer_to(service, long).startswith(b"HTTP/1.1 404 ")

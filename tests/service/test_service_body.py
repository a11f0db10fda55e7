"""The body limit, however the body comes."""

import gzip
import json
import socket
import zlib

import pytest

from service.errors import BodyTooLargeError, MalformedBodyError
from service.middleware.body import MAX_GZIP_MEMBERS, Inflater

LIMIT = 10_000
JSON = {"content-type": "application/json"}
HEAD = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %b\r\n"


@pytest.fixture(scope="module")
def limited(tiny_artifact):
    from .serving import running

    with running(tiny_artifact, max_body_bytes=LIMIT) as service:
        yield service


def body_of(size):
    empty = json.dumps({"query": "usb", "products": [{"title": ""}]})
    body = json.dumps({"query": "usb", "products": [{"title": "x" * (size - len(empty))}]}).encode()
    assert len(body) == size
    return body


def chunks(body, size=1000):
    for start in range(0, len(body), size):
        yield body[start : start + size]


def raw_answer(service, request):
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as raw:
        raw.sendall(request)
        return raw.recv(65536)


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413), (LIMIT * 50, 413)])
def test_a_body_with_its_length(limited, size, status):
    assert limited.client.post("/score", content=body_of(size), headers=JSON).status_code == status


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413), (LIMIT * 50, 413)])
def test_a_chunked_body(limited, size, status):
    answer = limited.client.post("/score", content=chunks(body_of(size)), headers=JSON)
    assert answer.status_code == status
    assert ("application/problem+json" in answer.headers["content-type"]) == (status != 200)


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413), (LIMIT * 500, 413)])
def test_a_small_gzip_body_that_inflates(limited, size, status):
    body = gzip.compress(body_of(size))
    assert len(body) < LIMIT
    headers = JSON | {"content-encoding": "gzip"}
    assert limited.client.post("/score", content=body, headers=headers).status_code == status
    assert limited.client.post("/score", content=chunks(body, 7), headers=headers).status_code == status


def test_an_announced_length_over_the_limit_is_refused_before_a_byte_is_read(limited):
    assert raw_answer(limited, HEAD % b"1000000000000000" + b"\r\n").startswith(b"HTTP/1.1 413 ")


def test_nobody_is_told_to_continue_with_a_body_over_the_limit(limited):
    assert raw_answer(limited, HEAD % b"1000000" + b"expect: 100-continue\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_length_that_says_less_than_comes_gets_only_what_it_said(limited):
    answer = raw_answer(limited, HEAD % b"10" + b"\r\n" + body_of(LIMIT * 5))
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"0x10", b"10, 20"])
def test_a_length_that_is_no_number_is_not_http(limited, length):
    assert raw_answer(limited, HEAD % length + b"\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "nonsense"])
def test_another_encoding_is_415_and_says_what_is_taken(limited, encoding):
    answer = limited.client.post("/score", content=body_of(100), headers=JSON | {"content-encoding": encoding})
    assert answer.status_code == 415
    assert "gzip" in answer.headers["accept-encoding"]


def test_another_transfer_coding_is_415(limited):
    body = body_of(100)
    chunked = b"transfer-encoding: gzip, chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    head = HEAD.partition(b"content-length")[0]
    assert raw_answer(limited, head + chunked).startswith(b"HTTP/1.1 415 ")


def test_identity_is_no_encoding(limited):
    headers = JSON | {"content-encoding": "identity"}
    assert limited.client.post("/score", content=body_of(100), headers=headers).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"not gzip", gzip.compress(b"{}")[:-4], zlib.compress(b"{}"), gzip.compress(b"{}") + b"garbage"],
    ids=["empty", "plain", "cut", "zlib", "trailing"],
)
def test_a_broken_gzip_body_is_400(limited, body):
    answer = limited.client.post("/score", content=body, headers=JSON | {"content-encoding": "gzip"})
    assert answer.status_code == 400


def test_gzip_members_are_joined_and_limited_together():
    inflater = Inflater(10)
    assert inflater.feed(gzip.compress(b"12345") + gzip.compress(b"67890")) == b"1234567890"
    inflater.check_ended()
    with pytest.raises(BodyTooLargeError):
        inflater.feed(gzip.compress(b"x"))


def test_more_gzip_members_than_there_is_reason_for_are_refused():
    Inflater(10).feed(gzip.compress(b"") * MAX_GZIP_MEMBERS)
    with pytest.raises(MalformedBodyError, match="at most 100 gzip members"):
        Inflater(10).feed(gzip.compress(b"") * (MAX_GZIP_MEMBERS + 1))


def test_a_bomb_is_not_inflated_past_the_limit():
    inflater = Inflater(1000)
    with pytest.raises(BodyTooLargeError):
        inflater.feed(gzip.compress(bytes(100_000_000)))
    assert inflater._inflated_bytes == 1001


def test_an_unfinished_member_is_noticed():
    inflater = Inflater(1000)
    inflater.feed(gzip.compress(b"12345")[:-1])
    with pytest.raises(MalformedBodyError):
        inflater.check_ended()

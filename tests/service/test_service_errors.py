"""Every row of the contract's error table, over a real socket."""

import json
import socket

import pytest

from service.errors import InvalidRequestError
from service.schemas import parse_score_request, score_request_model

from .serving import FakeEngine, GatedEngine, loader_of

JSON = {"content-type": "application/json"}
ONE = {"query": "usb", "products": [{"title": "usb cable"}]}


def is_problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    return problem


@pytest.fixture(autouse=True)
def _the_next_request_works(service):
    yield
    assert service.score("usb").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"query": "usb"',
        b"\xff\xfe",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"query": "usb", "products": ' + b'{"a":' * 100_000,
        rb'{"query": "usb", "products": [{"title": "\ud800"}]}',
        rb'{"query": "\udfff usb", "products": [{"title": "usb"}]}',
        b'{"query": "usb", "products": [{"title": "\xed\xa0\x80"}]}',
        b'{"query": "usb\x00", "products": [{"title": "usb"}]}',
    ],
    ids=[
        "empty",
        "words",
        "cut",
        "bytes",
        "deep",
        "deep-closed",
        "deep-field",
        "surrogate",
        "low-surrogate",
        "cesu",
        "nul",
    ],
)
def test_400_for_what_is_not_json(service, body):
    is_problem(service.client.post("/score", content=body, headers=JSON), 400)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"query": ""}, "/query"),
        ({"query": " \n\t "}, "/query"),
        ({"query": "x" * 513}, "/query"),
        ({"query": None}, "/query"),
        ({"query": 7}, "/query"),
        ({"products": []}, "/products"),
        ({"products": [{"title": "x"}] * 1001}, "/products"),
        ({"products": {"title": "x"}}, "/products"),
        ({"products": [{"title": "x"}, {"brand": "x"}]}, "/products/1/title"),
        ({"products": [{"title": None}]}, "/products/0/title"),
        ({"products": [{"title": "x", "brand": "b" * 4001}]}, "/products/0/brand"),
        ({"products": [{"title": "x", "description": "b" * 4001}]}, "/products/0/description"),
        ({"products": [{"title": "x", "color": 3}]}, "/products/0/color"),
        ({"products": [{"title": "x", "price": 3}]}, "/products/0/price"),
        ({"products": [{"title": "x", "a/b~c": 3}]}, "/products/0/a~1b~0c"),
        ({"products": ["x"]}, "/products/0"),
        ({"limit": 3}, "/limit"),
        ({"timeout_ms": 0}, "/timeout_ms"),
        ({"timeout_ms": -5}, "/timeout_ms"),
        ({"timeout_ms": "50"}, "/timeout_ms"),
        ({"timeout_ms": True}, "/timeout_ms"),
        ({"timeout_ms": float("nan")}, "/timeout_ms"),
        ({"timeout_ms": float("inf")}, "/timeout_ms"),
        ({"partial": 1}, "/partial"),
        ({"model": 1}, "/model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_422_names_the_field_and_what_was_expected(service, change, pointer):
    answer = service.client.post("/score", content=json.dumps(ONE | change), headers=JSON)
    problem = is_problem(answer, 422)
    assert problem["errors"][0]["pointer"] == pointer
    assert problem["errors"][0]["expected"]
    assert problem["detail"].startswith(pointer)


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"NaN", b"-Infinity", b"9" * 500])
def test_422_for_numbers_beyond_all_numbers(service, number):
    body = b'{"query": "usb", "products": [{"title": "usb"}], "timeout_ms": %s}' % number
    is_problem(service.client.post("/score", content=body, headers=JSON), 422)


def test_422_for_json_that_is_no_object(service):
    is_problem(service.client.post("/score", content=b"[]", headers=JSON), 422)


def test_422_lists_no_more_violations_than_a_person_reads(service):
    answer = service.client.post("/score", json={"query": "usb", "products": [{}] * 1000})
    assert len(is_problem(answer, 422)["errors"]) == 20


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ({**ONE, **{f"f{i}": 1 for i in range(15_000)}}, "/f0"),
        ({"query": "usb", "products": [{"title": "x", **{f"f{i}": 1 for i in range(15_000)}}]}, "/products/0/f0"),
        ({"query": "usb", "products": [{"titel": "x"}]}, "/products/0/title"),
    ],
    ids=["request", "product", "misspelt"],
)
def test_422_for_unknown_fields_however_many(service, body, first):
    errors = is_problem(service.client.post("/score", json=body), 422)["errors"]
    assert errors[0]["pointer"] == first
    assert len(errors) <= 20
    if first.endswith("/title"):
        assert [each["pointer"] for each in errors] == [first, "/products/0/titel"]


def test_pydantic_makes_no_error_of_each_unknown_field():
    """They cost a kilobyte each, and a body has room for 400,000."""
    body = b'{"query": "usb", "a": 1, "products": [{"title": "x", "b": 1}]}'
    assert score_request_model(10).model_validate_json(body)
    with pytest.raises(InvalidRequestError):
        parse_score_request(score_request_model(10), body, 1000)


def test_422_does_not_repeat_a_huge_field_name(service):
    answer = service.client.post("/score", json=ONE | {"x" * 100_000: 1})
    assert len(answer.content) < 1000
    is_problem(answer, 422)


@pytest.mark.parametrize("header", ["x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms"])
@pytest.mark.parametrize("value", ["", "0", "-1", "soon", "1.5", "1e3", "9" * 40, "１"])
def test_422_for_a_timeout_header_that_is_no_number_of_milliseconds(service, header, value):
    answer = service.client.post("/score", json=ONE, headers={header: value.encode()})
    assert is_problem(answer, 422)["errors"][0]["header"] == header


@pytest.mark.parametrize(
    "content_type",
    [
        *(None, "", "text/plain", "application/x-www-form-urlencoded", "application/json, text/plain", "json"),
        *("application/json; charset=latin-1", "application/json; Charset=latin-1"),
        "application/json" + "; a=b" * 1000,
    ],
)
def test_415_for_another_content_type(service, content_type):
    headers = {} if content_type is None else {"content-type": content_type}
    is_problem(service.client.post("/score", content=json.dumps(ONE), headers=headers), 415)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", 'Application/JSON; charset="UTF-8"', "application/json; charset=utf-8; profile=x"],
)
def test_json_by_any_of_its_names_is_taken(service, content_type):
    answer = service.client.post("/score", content=json.dumps(ONE), headers={"content-type": content_type})
    assert answer.status_code == 200


def test_404_for_an_unknown_route(service):
    is_problem(service.client.get("/nowhere"), 404)
    is_problem(service.client.post("/score/", json=ONE), 404)


def test_404_for_an_unknown_model(service):
    assert "tiny" in is_problem(service.score("usb", model="other"), 404)["detail"]


def test_405_names_the_methods_that_there_are(service):
    answer = service.client.get("/score")
    is_problem(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_400_for_what_is_not_http(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as raw:
        raw.sendall(b"HELLO THERE\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 400


def test_401_without_the_right_key(serve):
    service = serve(api_keys="first-key, second-key")
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic first-key"},
        {"authorization": "Bearer"},
    ):
        answer = service.client.post("/score", json=ONE, headers=headers)
        is_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    is_problem(service.client.get("/models"), 401)
    is_problem(service.client.get("/nowhere"), 401)
    is_problem(service.client.post("/score", json=ONE), 401)


def test_either_key_opens_and_probes_need_none(serve):
    service = serve(api_keys="first-key, second-key")
    for key in ("first-key", "second-key"):
        answer = service.client.post("/score", json=ONE, headers={"authorization": f"bearer {key}"})
        assert answer.status_code == 200
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs"):
        assert service.client.get(path).status_code == 200


def test_500_carries_the_request_id_and_nothing_of_the_cause(serve, caplog):
    service = serve(load=loader_of(FakeEngine()))
    answer = service.score("1", "broken")
    problem = is_problem(answer, 500)
    assert "secret" not in answer.text
    assert any(
        problem["request_id"] == getattr(record, "fields", {}).get("request_id") and record.exc_info
        for record in caplog.records
    )
    assert service.score("1").status_code == 200


def test_500_for_a_fault_outside_the_engine(serve, monkeypatch, caplog):
    service = serve()
    monkeypatch.setattr(service.runtime.metrics, "render", lambda _: 1 / 0)
    answer = service.client.get("/metrics")
    is_problem(answer, 500)
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_503_when_the_queue_is_full(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1, max_backlog_ms=1)
    with service.sending("/score", json={"query": "usb", "products": [{"title": "1"}] * 100}) as first:
        engine.wait_until_entered()
        answer = service.score(*["2"] * 100)
        is_problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert service.metric("score_requests_total", outcome="shed", reason="backlog_full") == 1
        engine.open()
        assert first.result(60).status_code == 200
    assert service.score("2").status_code == 200


def test_504_when_the_deadline_passes_while_working(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine))
    is_problem(service.score("1", timeout_ms=50), 504)
    is_problem(service.client.post("/score", json=ONE, headers={"x-request-timeout-ms": "50"}), 504)
    is_problem(service.client.post("/score", json=ONE, headers={"x-envoy-expected-rq-timeout-ms": "50"}), 504)
    assert service.metric("score_requests_total", outcome="late", reason="deadline") == 3
    engine.open()


def test_504_when_the_smallest_of_several_deadlines_passes(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), max_timeout_ms=50)
    headers = {"x-request-timeout-ms": "60000", "x-envoy-expected-rq-timeout-ms": "60000"}
    is_problem(service.client.post("/score", json=ONE | {"timeout_ms": 60_000}, headers=headers), 504)
    engine.open()


def test_504_when_the_body_does_not_arrive_before_the_deadline(serve):
    service = serve(max_timeout_ms=50)
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as raw:
        raw.sendall(
            b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
        )
        assert raw.recv(65536).startswith(b"HTTP/1.1 504 ")

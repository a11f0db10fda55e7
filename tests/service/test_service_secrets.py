"""What a caller must not find in the log, nor a browser in the answers."""

import contextlib
import json
import logging
import re

import pytest

from service.logs import JsonFormatter, TextFormatter

from .serving import FakeEngine, loader_of

KEY = "hunter2-the-key"
SECRET = "hunter2-of-the-caller"
ASKED = {"query": f"shoes {SECRET}", "products": [{"title": "1", "brand": SECRET}]}
ROUTES = ["/score", "/models", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/nowhere"]


@pytest.fixture
def everything_logged(caplog):
    # The client shares this process. The last level is the handler's too.
    levels = dict.fromkeys(("httpx", "httpcore"), logging.WARNING)
    levels |= dict.fromkeys(("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", ""), logging.DEBUG)
    with contextlib.ExitStack() as stack:
        for name, level in levels.items():
            stack.enter_context(caplog.at_level(level, name or None))
        yield caplog


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()], ids=["text", "json"])
def test_neither_keys_nor_texts_nor_query_strings_are_logged(serve, everything_logged, formatter):
    everything_logged.handler.setFormatter(formatter)
    service = serve(api_keys=KEY, load=loader_of(FakeEngine()))
    for given in (KEY, SECRET):
        for headers in ({"authorization": f"Bearer {given}"}, {"authorization": given}, {"x-api-key": given}):
            for path in ROUTES:
                service.client.request("POST", path, params={"key": given}, json=ASKED, headers=headers)
                service.client.get(path, params={"key": given}, headers=headers)
    right = {"authorization": f"Bearer {KEY}"}
    for body in (
        *({SECRET: 1}, ASKED | {SECRET: 1}, ASKED | {"model": SECRET}, ASKED | {"timeout_ms": SECRET}, [SECRET]),
        *(ASKED | {"products": [{"title": "broken", "brand": SECRET}]}, ASKED | {"products": [{SECRET: SECRET}]}),
    ):
        service.client.post("/score", json=body, headers=right)
    service.client.post("/score", content=SECRET, headers=right | {"content-type": "application/json"})
    service.client.post("/score", json=ASKED, headers=right | {"x-request-timeout-ms": SECRET})
    service.client.post("/score", json=ASKED, headers=right | {"x-request-id": f"{SECRET} is not sane"})
    service.client.post("/score", json=ASKED, headers=right | {"content-type": SECRET})
    for raw_request in (
        f"GET /x?key={SECRET} HTTP/9.9\r\n\r\n",
        f"{SECRET}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{SECRET}\r\n\r\n",
        f"GET / HTTP/1.1\r\nx: {SECRET * 5000}\r\n\r\n",
    ):
        with contextlib.closing(service.raw()) as raw, contextlib.suppress(ConnectionError):
            raw.sendall(raw_request.encode())
            while raw.recv(65536):
                pass
    text = everything_logged.text
    assert text.count("request") > 50
    assert all(path in text for path in ROUTES)
    assert KEY not in text
    assert SECRET not in text


def test_there_are_no_cross_origin_headers_and_no_answer_to_a_preflight(service):
    preflight = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    for path in ROUTES[:-1]:
        for method in ("OPTIONS", "GET", "POST"):
            answer = service.client.request(method, path, headers=preflight)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            if method == "OPTIONS":
                assert answer.status_code == 405
                assert "OPTIONS" not in answer.headers["allow"]


def test_no_browser_is_to_guess_what_an_answer_is(service):
    for path in ROUTES:
        assert service.client.get(path).headers["x-content-type-options"] == "nosniff"
    assert service.score("usb").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "given",
    [
        *(b"a\rb", b"a b", b"<script>", b'"', b"a;b", b"a%0d%0aset-cookie:x", b"\x7f", b"\xff", b"\xc3\xa9", b"a,b"),
        *(b"{}", b"$(x)", b"../x\\", b"a" * 129, b"'", b"`", b"|", b"\t", b"{{7*7}}", b"${jndi:ldap://x}"),
    ],
)
def test_a_request_id_that_could_mean_something_elsewhere_is_replaced(service, given):
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-request-id: " + given + b"\r\n\r\n")
        head = raw.recv(65536).partition(b"\r\n\r\n")[0]
    found = re.findall(rb"x-request-id: (.*)", head)
    assert [bool(re.fullmatch(rb"[0-9a-f]{32}\r?", each)) for each in found] == [True]
    assert b"set-cookie" not in head


def test_of_several_request_ids_one_is_echoed(service):
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(b"GET /nowhere HTTP/1.1\r\nx-request-id: bad id\r\nx-request-id: good\r\nX-Request-ID: two\r\n\r\n")
        head, _, body = raw.recv(65536).partition(b"\r\n\r\n")
    assert head.count(b"x-request-id: ") == 1
    assert b"x-request-id: good" in head
    assert json.loads(body)["request_id"] == "good"

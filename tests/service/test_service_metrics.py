"""What is counted: every POST /score once, stages, lanes, caches; and what no caller can do to the counters."""

import contextlib
import gzip
import json
import random
import threading
from collections import Counter

import pytest

from service.errors import ServiceError
from service.metrics import Metrics
from service.outcomes import BY_ERROR, ENDINGS, INTERNAL, ending_of
from service.protocol import REASONS

from .serving import FakeEngine, GatedEngine, loader_of, running
from .test_service_split import TITLES

JSON = {"content-type": "application/json"}
GZIP = JSON | {"content-encoding": "gzip"}
BODY = json.dumps({"query": "usb", "products": [{"title": "1"}]}).encode()
HEAD = b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
BEFORE_A_REQUEST = ("RouteNotFound", "MethodNotAllowed", "LateHead", "HeadTooLarge", "TooManyPipelined")


def endings(service):
    """(outcome, reason) -> how often, where it happened at all."""
    counted = {ending: service.metric("score_requests_total", **ending._asdict()) for ending in ENDINGS}
    return {ending: count for ending, count in counted.items() if count}


def ended_as(service, outcome, reason, times=1):
    """Nothing else was counted, and each has its duration."""
    service.wait_until(lambda: sum(endings(service).values()) == times)
    assert endings(service) == {(outcome, reason): times}
    assert service.metric("score_duration_seconds_count", outcome=outcome) == times


def leaves(kind):
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


def test_every_error_of_a_scoring_request_has_an_ending_of_its_own():
    own = [kind for kind in leaves(ServiceError) if not kind.__name__.startswith(BEFORE_A_REQUEST)]
    assert not [kind for kind in own if kind not in BY_ERROR]
    assert len(set(BY_ERROR.values())) == len(BY_ERROR)
    assert ending_of(ServiceError("of no known kind")) == INTERNAL


def test_every_ending_is_there_from_the_start():
    metrics = Metrics()
    for ending in ENDINGS:
        assert metrics.registry.get_sample_value("shelfscore_score_requests_total", ending._asdict()) == 0
        labels = {"outcome": ending.outcome, "le": "0.05"}
        assert metrics.registry.get_sample_value("shelfscore_score_duration_seconds_bucket", labels) == 0


def test_scored(serve):
    service = serve()
    for _ in range(3):
        assert service.score("usb cable", "hose").status_code == 200
    ended_as(service, "scored", "none", times=3)
    assert service.metric("request_products_sum") == service.metric("scored_pairs_total") == 6
    assert service.metric("request_tokens_count") == 3
    assert service.metric("request_tokens_sum") == service.metric("tokens_total", kind="text") > 6
    for stage in ("queue", "tokenize", "inference"):
        assert service.metric("stage_duration_seconds_count", stage=stage) == 3
    # Nothing of a cross-encoder's products is encoded ahead.
    assert service.metric("stage_duration_seconds_count", stage="encode") == 0


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        ({"content": b"{", "headers": JSON}, 400, "not_json"),
        ({"content": b"no gzip", "headers": GZIP}, 400, "not_json"),
        ({"content": BODY}, 415, "unsupported_media"),
        ({"content": BODY, "headers": JSON | {"content-encoding": "br"}}, 415, "unsupported_media"),
        ({"content": gzip.compress(b" " * 5_000_000), "headers": GZIP}, 413, "too_large"),
        ({"content": BODY, "headers": JSON | {"x-request-timeout-ms": "soon"}}, 422, "schema"),
        ({"json": {"query": "usb", "products": []}}, 422, "schema"),
        ({"json": {**json.loads(BODY), "model": "nowhere"}}, 404, "unknown_model"),
    ],
)
def test_invalid(serve, request_, status, reason):
    service = serve()
    assert service.client.post("/score", **request_).status_code == status
    ended_as(service, "invalid", reason)


def test_unauthorized(serve):
    service = serve(api_keys="a-key")
    assert service.client.post("/score", content=BODY, headers=JSON).status_code == 401
    ended_as(service, "invalid", "unauthorized")


def test_late(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine))
    assert service.score("1", timeout_ms=50).status_code == 504
    engine.open()
    ended_as(service, "late", "deadline")


def test_late_since_its_body_was(serve, monkeypatch):
    # However late a busy machine rings.
    monkeypatch.setattr("service.scoring_route.PUNCTUAL_S", 60.0)
    service = serve(max_timeout_ms=50)
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(HEAD % 99 + b"{")
        assert raw.recv(65536).startswith(b"HTTP/1.1 504 ")
    ended_as(service, "late", "late_body")


def test_late_since_the_event_loop_stood_still_while_its_body_was_there(serve, monkeypatch):
    service = serve(max_timeout_ms=200)
    with contextlib.closing(service.raw()) as raw:

        def stand_still():
            raw.sendall(BODY[10:])
            threading.Event().wait(0.4)
            return []

        monkeypatch.setattr(service.runtime, "models", stand_still)
        raw.sendall(HEAD % len(BODY) + BODY[:10])
        service.wait_until(lambda: service.metric("in_flight_requests") == 1)
        service.client.get("/models")
        assert raw.recv(65536).startswith(b"HTTP/1.1 504 ")
    ended_as(service, "late", "deadline")


def test_partial_since_the_deadline_passed(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine))
    answer = service.score("1", timeout_ms=50, partial=True)
    assert (answer.status_code, answer.json()["complete"]) == (200, False)
    engine.open()
    ended_as(service, "partial", "deadline")


def test_partial_since_a_logit_is_not_finite(serve):
    service = serve(load=loader_of(FakeEngine()))
    assert service.score("1", "nan").json()["complete"] is False
    ended_as(service, "partial", "not_finite")


def test_failed_by_the_model(serve):
    service = serve(load=loader_of(FakeEngine()))
    assert service.score("broken").status_code == 500
    ended_as(service, "failed", "model")


def test_failed_by_the_service(serve, monkeypatch):
    service = serve()
    monkeypatch.setattr(service.runtime.registry, "find", lambda _: 1 / 0)
    assert service.score("1").status_code == 500
    ended_as(service, "failed", "internal")


def test_gone(serve):
    service = serve()
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(HEAD % 99 + b"{")
        service.wait_until(lambda: service.metric("in_flight_requests") == 1)
    ended_as(service, "gone", "client_gone")


def test_shed_since_it_is_stopping(serve):
    service = serve()
    service.runtime.drain()
    assert service.score("1").status_code == 503
    ended_as(service, "shed", "draining")


def test_shed_since_there_are_too_many_connections(serve):
    service = serve(max_connections=1)
    service.client.get("/health/live")
    with contextlib.closing(service.raw()) as raw:
        raw.sendall(HEAD % len(BODY) + BODY)
        assert raw.recv(65536).startswith(b"HTTP/1.1 503 ")
    ended_as(service, "shed", "connections")


def test_what_is_no_post_to_score_is_not_counted(serve):
    service = serve()
    for line in ("GET /score", "PUT /score", "POST /scores", "POST /score/", "GET /models"):
        service.client.request(*line.split())
    assert endings(service) == {}
    service.wait_until(lambda: service.metric("requests_total", route="/score", status="405") == 2)


def test_an_answer_is_counted_before_its_caller_can_read_it(serve):
    service = serve(load=loader_of(FakeEngine()))
    for number in range(1, 50):
        service.score("1")
        assert service.metric("score_requests_total", outcome="scored", reason="none") == number


def state_lookups(service):
    results = ("hit", "miss")
    return Counter({each: service.metric("cache_lookups_total", cache="state", result=each) for each in results})


def test_what_a_split_model_encodes_is_a_stage_of_its_own(split_artifact):
    with running(split_artifact) as service:
        loading = state_lookups(service)
        for _ in range(2):
            timing = service.score(*TITLES).headers["server-timing"]
        count = "stage_duration_seconds_count"
        assert [service.metric(count, stage=each) for each in ("tokenize", "encode", "inference")] == [2, 1, 2]
        assert "encode" not in timing
        assert service.metric("stage_duration_seconds_sum", stage="encode") > 0
        lookups = state_lookups(service) - loading
        # The second time all of them are known; those of the first were looked up once, none of them there.
        assert lookups["hit"] == len(TITLES)
        assert lookups["miss"] >= len(TITLES)
        assert service.metric("cache_bytes", cache="state") == service.metric("kept_bytes") > 0
        assert service.metric("cache_limit_bytes", cache="state") == 256 * 1024 * 1024


def test_caches_tell_what_they_take_and_may_take_over_all_models(serve, other_artifact):
    service = serve(models=str(other_artifact), token_cache_bytes=100_000, score_cache_bytes=50_000)
    for name in ("tiny", "other"):
        service.score("usb cable", "hose", model=name)
    for cache, limit in (("token", 200_000), ("score", 100_000)):
        assert service.metric("cache_limit_bytes", cache=cache) == limit
        assert 0 < service.metric("cache_bytes", cache=cache) < limit
    service.call(service.runtime.forget)
    assert service.metric("cache_bytes", cache="token") == service.metric("cache_bytes", cache="score") == 0


def test_a_cache_that_is_off_has_no_limit_and_no_lookups(serve):
    service = serve(token_cache_bytes=0)
    service.score("usb cable")
    assert service.metric("cache_limit_bytes", cache="token") == service.metric("cache_limit_bytes", cache="score") == 0
    text = service.client.get("/metrics").text
    assert 'cache_limit_bytes{cache="token"} 0.0' in text
    assert 'cache_lookups_total{cache="token",result="hit"} 0.0' in text


def test_lanes_at_work_are_busy_and_their_time_is_counted_once_it_is_over(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=2)
    with service.sending("/score", content=BODY, headers=JSON) as answer:
        engine.wait_until_entered()
        assert service.metric("lanes_busy") == 1
        before = service.metric("lane_busy_seconds_total")
        engine.open()
        assert answer.result(60).status_code == 200
    service.wait_until(lambda: service.metric("lanes_busy") == 0)
    assert service.metric("lane_busy_seconds_total") > before


def test_a_scrape_does_not_wait_for_scoring(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1, max_backlog_ms=60_000)
    many = json.dumps({"query": "usb", "products": [{"title": "1"}] * 500}).encode()
    with contextlib.ExitStack() as stack:
        answers = [stack.enter_context(service.sending("/score", content=many, headers=JSON)) for _ in range(4)]
        engine.wait_until_entered()
        service.wait_until(lambda: service.metric("queued_products") == 2000)
        # Nothing moves until the gate opens.
        for accept in ("text/plain", "application/openmetrics-text"):
            text = service.client.get("/metrics", headers={"accept": accept}).text
            assert "\nshelfscore_queued_products 2000.0\n" in text
            assert "\nshelfscore_lanes_busy 1.0\n" in text
        engine.open()
        assert [answer.result(60).status_code for answer in answers] == [200] * 4


def test_reasons_of_refused_connections_are_there_from_the_start():
    read = Metrics().registry.get_sample_value
    for reason in (*REASONS.values(), "slow_reader"):
        assert read("shelfscore_refused_connections_total", {"reason": reason}) == 0


def series_of(service):
    """Names and labels, without values."""
    lines = service.client.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def hostile_requests(count, seed):
    """(method, path, headers, body) that nobody has thought of."""
    made = random.Random(seed)

    def word():
        return "".join(made.choices('abc/\\"{}=,\n\r\t é\0%', k=made.randint(1, 30)))

    def sane():
        return "".join(made.choices("abcXYZ0189._:/+=@-", k=made.randint(1, 60)))

    for _ in range(count):
        body = {
            "query": word(),
            "products": [{"title": word(), "id": word()}],
            **made.choice([{}, {"model": word()}, {word(): word()}, {"timeout_ms": made.random()}]),
        }
        headers = {
            "x-request-id": sane(),
            "user-agent": sane(),
            "accept": sane(),
            "traceparent": made.choice([sane(), f"00-{made.randbytes(16).hex()}-{made.randbytes(8).hex()}-01"]),
            "content-type": made.choice(["application/json", sane()]),
            made.choice(["x-envoy-expected-rq-timeout-ms", "authorization", "x-model", "x-tenant"]): sane(),
        }
        method = made.choice(["GET", "POST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PROPFIND"])
        path = made.choice(["/score", "/score", "/metrics", "/models/" + sane(), "/x" + sane(), "/score?" + sane()])
        yield method, path, headers, json.dumps(body).encode()


def play(service, requests):
    statuses = set()
    for method, path, headers, body in requests:
        statuses.add(service.client.request(method, path, headers=headers, content=body).status_code)
    return statuses


def test_no_caller_can_add_series(serve):
    service = serve(models="", max_connections=2000)
    statuses = play(service, hostile_requests(600, seed=1))
    assert {200, 404, 405, 415, 422} <= statuses
    before = series_of(service)
    # Every route with every status there is, and not one more for a thousand other strangers.
    play(service, hostile_requests(1000, seed=2))
    added = series_of(service) - before
    assert not [each for each in added if not each.startswith("shelfscore_requests_total{")]
    assert len(series_of(service)) < 1500
    routes = {"/score", "/models", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "other"}
    found = [each for each in series_of(service) if each.startswith("shelfscore_requests_total{")]
    assert {each.split('route="')[1].split('"')[0] for each in found} <= routes
    assert {each.split('status="')[1].split('"')[0] for each in found} <= {str(status) for status in range(200, 600)}

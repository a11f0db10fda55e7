import concurrent.futures
import json
import re

import numpy as np
import pytest

from artifact import load_artifact

from .serving import FakeEngine, GatedEngine, loader_of


def test_scores_come_in_request_order_and_are_calibrated(service, tiny_artifact):
    answer = service.score("red shoe", "wireless usb charger", "garden hose").json()

    manifest = load_artifact(tiny_artifact).manifest
    assert answer["model"] == {"name": "tiny", "version": manifest.version}
    assert answer["complete"] is True
    assert answer["scores"] == pytest.approx(manifest.calibration.scores(np.array(answer["logits"])), abs=1e-6)
    assert len(set(answer["logits"])) == 3
    backwards = service.score("garden hose", "wireless usb charger", "red shoe").json()
    assert backwards["logits"] == pytest.approx(answer["logits"][::-1], abs=1e-4)


def test_golden_pairs_over_http_give_their_logits(service, tiny_artifact):
    variant = "cpu-int8"
    manifest = load_artifact(tiny_artifact).manifest
    for golden in manifest.golden_pairs:
        body = {"query": golden.query, "products": [golden.product]}
        logits = service.client.post("/score", json=body).json()["logits"]
        assert logits == pytest.approx([golden.logits[variant]], abs=manifest.variant(variant).golden_tolerance)


def test_a_score_does_not_depend_on_its_batch_mates(service):
    alone = service.score("wireless usb charger").json()["logits"][0]
    longest = "laptop case with red cable and mouse " * 20
    mates = [f"mate {i} " + "cable " * (i % 30) for i in range(998)]
    crowd = service.score("wireless usb charger", longest, *mates).json()["logits"]
    assert crowd[0] == pytest.approx(alone, abs=1e-4)
    assert service.score(longest, "wireless usb charger").json()["logits"] == pytest.approx(crowd[1::-1], abs=1e-4)


def test_a_score_does_not_depend_on_the_token_cache(service, serve):
    titles = ["usb cable", "red watch band", "usb cable"]
    uncached = serve(token_cache_bytes=0)
    first, second = (service.score(*titles).json() for _ in range(2))
    assert first == second == uncached.score(*titles).json()
    assert service.metric("cache_lookups_total", cache="token", result="hit") >= 3
    assert uncached.metric("cache_lookups_total", cache="token", result="hit") == 0


def test_duplicate_ids_are_fine(service):
    products = [{"id": "B07", "title": "usb cable"}, {"id": "B07", "title": "garden hose"}]
    answer = service.client.post("/score", json={"query": "usb", "products": products})
    assert answer.status_code == 200
    assert len(answer.json()["scores"]) == 2


def test_fields_that_the_template_does_not_read_are_accepted_and_ignored(service):
    plain = {"title": "usb cable", "brand": "acme"}
    full = plain | {"id": "1", "color": "red", "product_type": None, "gender": "unisex", "description": "x" * 4000}
    answer = service.client.post("/score", json={"query": "usb", "products": [plain, full]}).json()
    assert answer["scores"][0] == answer["scores"][1]


@pytest.mark.parametrize(
    "title",
    [
        "",
        "   ",
        "\x00",
        "😀" * 50,
        "مرحبا بالعالم",
        "[SEP] [CLS] [PAD]",
        "\u200b",
        "w" * 1_000_000,
        "\ufffd\uffff",
        "a\nb",
    ],
    ids=["empty", "blank", "nul", "emoji", "right-to-left", "special", "zero-width", "megabyte", "odd", "newline"],
)
def test_absurd_titles_are_scored(service, title):
    answer = service.score(title, "usb cable")
    assert answer.status_code == 200
    assert answer.json()["complete"] is True
    assert service.score("usb cable").json()["logits"][0] == pytest.approx(answer.json()["logits"][1], abs=1e-4)


def test_the_query_is_trimmed_before_it_is_measured(service):
    body = {"query": " " * 600 + "u" * 512 + " " * 600, "products": [{"title": "usb"}]}
    assert service.client.post("/score", json=body).status_code == 200


def test_the_answer_carries_its_headers(service):
    answer = service.client.post(
        "/score",
        json={"query": "usb", "products": [{"title": "usb"}]},
        headers={"x-request-id": "ranker-7:42"},
    )
    assert answer.headers["x-request-id"] == "ranker-7:42"
    assert answer.headers["x-model-version"] == answer.json()["model"]["version"]
    stages = re.fullmatch(
        r"queue;dur=(\d+\.\d{3}), tokenize;dur=(\d+\.\d{3}), inference;dur=(\d+\.\d{3}), total;dur=(\d+\.\d{3})",
        answer.headers["server-timing"],
    )
    queue, tokenize, inference, total = map(float, stages.groups())
    # Each is rounded to the microsecond.
    assert queue + tokenize + inference <= total + 0.002


@pytest.mark.parametrize("given", ["", "with space", "x" * 129, "new\tline", "é"])
def test_a_request_id_that_is_not_sane_is_replaced(service, given):
    answer = service.client.get("/health/live", headers={"x-request-id": given.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_the_model_may_be_named(service):
    assert service.score("usb", model="tiny").status_code == 200


def test_a_gzip_body_is_scored(service):
    import gzip

    body = gzip.compress(json.dumps({"query": "usb", "products": [{"title": "usb"}]}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert service.client.post("/score", content=body, headers=headers).status_code == 200


def test_many_callers_get_their_own_scores(serve):
    service = serve(load=loader_of(FakeEngine()))

    def ask(start):
        titles = [str(start + i) for i in range(50)]
        return service.score(*titles).json()["logits"] == [float(title) for title in titles]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(0, 4000, 100)))
    assert service.metric("queued_products") == 0


@pytest.mark.parametrize("odd", ["nan", "inf", "-inf"])
def test_a_logit_that_is_not_finite_is_null_and_spares_its_neighbours(serve, odd):
    service = serve(load=loader_of(FakeEngine()))
    answer = service.score("1", odd, "2")
    assert answer.status_code == 200
    assert answer.json()["logits"] == [1.0, None, 2.0]
    assert answer.json()["scores"][1] is None
    assert answer.json()["complete"] is False
    assert service.metric("not_finite_logits_total") == 1


def test_at_the_deadline_a_partial_answer_has_the_first_products_and_null_for_the_rest(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1, batch_tokens=8 * 16)
    engine.open(2)
    titles = [str(i) for i in range(64)]
    # The third of four micro-batches never ends before the deadline.
    answer = service.score(*titles, timeout_ms=300, partial=True)
    engine.open()
    assert answer.status_code == 200
    assert answer.json()["complete"] is False
    assert answer.json()["logits"] == [*map(float, titles[:32]), *[None] * 32]


def test_a_partial_answer_in_time_is_complete(service):
    assert service.score("usb", "red", partial=True, timeout_ms=60_000).json()["complete"] is True

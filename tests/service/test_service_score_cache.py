"""The score cache: by itself, behind the scorer, and over HTTP."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.lru import ENTRY_BYTES
from service.metrics import Metrics
from service.score_cache import ScoreCache

from .serving import FakeEngine, GatedEngine, loader_of

KIB = 1024


def cache_of(max_bytes=1024 * KIB, metrics=None):
    return ScoreCache(max_bytes, ("title", "brand"), metrics or Metrics())


def logits_of(*values):
    return np.array(values, dtype=np.float32)


@given(
    st.lists(st.lists(st.tuples(st.text(max_size=3), st.floats(width=32)), max_size=20), max_size=10),
    st.integers(0, 60_000),
)
def test_it_stays_within_its_bytes_and_gives_the_first_logit_to_the_bit(batches, max_bytes):
    cache = cache_of(max_bytes)
    for batch in batches:
        keys = cache.keys("q", [{"title": title} for title, _ in batch])
        logits = logits_of(*[logit for _, logit in batch])
        answers = cache.keep(keys, logits)
        assert cache.bytes_used <= max_bytes
        found = cache.look_up(keys)
        assert np.isfinite(found[~np.isnan(found)]).all()
        known = ~np.isnan(found) & np.isfinite(logits)
        assert answers[known].tobytes() == found[known].tobytes()
        assert answers[~np.isfinite(logits)].tobytes() == logits[~np.isfinite(logits)].tobytes()


def test_query_and_every_field_of_the_template_make_the_pair():
    cache = cache_of()
    product = {"title": "usb", "brand": "acme", "color": "red"}
    cache.keep(cache.keys("q", [product]), logits_of(1.5))
    others = [
        ("q", {**product, "color": "blue"}),
        ("r", product),
        ("q", {**product, "brand": None}),
        ("q", {**product, "title": "usb "}),
    ]
    found = [cache.look_up(cache.keys(query, [each]))[0] for query, each in others]
    assert found[0] == 1.5
    assert np.isnan(found[1:]).all()


def test_logits_that_are_not_finite_are_answered_but_not_kept():
    cache = cache_of()
    keys = cache.keys("q", [{"title": each} for each in "abc"])
    answers = cache.keep(keys, logits_of(np.nan, 2.0, np.inf))
    np.testing.assert_array_equal(answers, [np.nan, 2.0, np.inf])
    np.testing.assert_array_equal(cache.look_up(keys), [np.nan, 2.0, np.nan])


def test_duplicates_get_one_logit():
    cache = cache_of()
    keys = cache.keys("q", [{"title": "a"}, {"title": "b"}, {"title": "a"}])
    assert cache.keep(keys, logits_of(1.0, 2.0, 1.0000001)).tolist() == [1.0, 2.0, 1.0]
    assert cache.keep(keys[:1], logits_of(9.0)).tolist() == [1.0]


def test_the_estimate_of_an_entry_is_near_what_it_takes():
    import tracemalloc

    cache = cache_of(64 * 1024 * KIB)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for i in range(2000):
            cache.keep(cache.keys(f"query {i}", [{"title": f"a title of some length {i}"}]), logits_of(i))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert cache.bytes_used > 2000 * ENTRY_BYTES
    assert 0.7 * taken < cache.bytes_used < 1.5 * taken


class CountingEngine(FakeEngine):
    """Never gives the same logit twice."""

    def __init__(self):
        self.prepared, self.scored = [], []

    def prepare_products(self, products):
        self.prepared += [product["title"] for product in products]
        return super().prepare_products(products)

    def score_pairs(self, pairs):
        self.scored += [title for _, title in pairs]
        return super().score_pairs(pairs) + np.float32(len(self.scored) * 1e-3)


def test_answers_are_the_same_with_and_without(serve, service):
    cached = serve(score_cache_bytes=1024 * KIB)
    titles = ["usb cable", "red watch band", "usb cable", "garden hose"]
    first, second = (cached.score(*titles).json() for _ in range(2))
    plain = service.score(*titles).json()
    assert first == second
    assert first["logits"] == pytest.approx(plain["logits"], abs=1e-4)
    assert first["scores"] == pytest.approx(plain["scores"], abs=1e-4)
    assert cached.metric("cache_lookups_total", cache="score", result="hit") == 4
    assert service.metric("cache_lookups_total", cache="score", result="hit") == 0


def test_products_in_it_are_neither_prepared_nor_scored_and_keep_their_places(serve):
    engine = CountingEngine()
    service = serve(load=loader_of(engine), score_cache_bytes=1024 * KIB)
    first = service.score("1", "2").json()["logits"]
    mixed = service.score("3", "2", "4", "1", "3").json()["logits"]
    assert sorted(engine.prepared) == sorted(engine.scored) == ["1", "2", "3", "3", "4"]
    assert [mixed[3], mixed[1]] == first
    assert mixed[0] == mixed[4]
    assert [round(logit) for logit in mixed] == [3, 2, 4, 1, 3]
    assert service.metric("cache_lookups_total", cache="score", result="hit") == 2
    assert service.metric("cache_lookups_total", cache="score", result="miss") == 5


def test_a_request_wholly_in_it_needs_no_lane(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1, score_cache_bytes=1024 * KIB)
    engine.open(1)
    first = service.score("1", "2")
    engine.wait_until_entered()
    with service.sending("/score", json={"query": "q", "products": [{"title": "9"}]}) as busy:
        engine.wait_until_entered()
        again = service.score("1", "2")
        assert again.json() == first.json()
        assert again.headers["server-timing"].startswith(
            "queue;dur=0.000, tokenize;dur=0.000, inference;dur=0.000, total"
        )
        assert service.metric("queued_products") == 1
        engine.open()
        assert busy.result(60).status_code == 200


def test_a_partial_answer_has_what_is_known_whatever_the_lanes_do(serve):
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1, score_cache_bytes=1024 * KIB)
    engine.open(1)
    service.score("1", "2")
    answer = service.score("1", "3", "2", partial=True, timeout_ms=200).json()
    assert (answer["logits"], answer["complete"]) == ([1.0, None, 2.0], False)
    engine.open()


def test_a_logit_that_is_not_finite_is_asked_for_again(serve):
    engine = CountingEngine()
    service = serve(load=loader_of(engine), score_cache_bytes=1024 * KIB)
    for _ in range(2):
        assert service.score("nan", "1").json()["scores"][0] is None
    assert engine.scored == ["nan", "1", "nan"]

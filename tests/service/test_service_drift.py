"""Drift of scores and inputs, from answered requests to metrics."""

import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.drift.monitor import BUSY_SHARE, READ_PRODUCTS
from service.drift.psi import SHIFTED

from .drifting import WINDOW_S, Watching, answered_job, model_of, with_histogram, without_references

DEFAULT = Path(__file__).parents[2] / "models" / "default"

ENGLISH = (
    *("usb", "charger", "laptop", "wireless", "mouse", "kitchen", "knife", "running", "shoes", "women", "black", "red"),
    *(
        "garden",
        "hose",
        "coffee",
        "machine",
        "baby",
        "car",
        "seat",
        "phone",
        "case",
        "leather",
        "wallet",
        "desk",
        "lamp",
    ),
)
GERMAN = (
    *("ladegerät", "kabellos", "küchenmesser", "laufschuhe", "damen", "schwarz", "gartenschlauch", "kaffeemaschine"),
    *("kindersitz", "handyhülle", "geldbörse", "schreibtischlampe", "bürostuhl", "waschmaschine", "staubsauger"),
)
RUSSIAN = ("зарядка", "ноутбук", "мышь", "беспроводная", "нож", "кроссовки", "женские", "чёрный", "шланг", "кофеварка")
JAPANESE = ("充電器", "ノートパソコン", "マウス", "包丁", "ランニング", "シューズ", "黒", "ホース", "コーヒー", "財布")


class Traffic:
    """Requests drawn by a seed: queries of some words, each with products, and scores."""

    def __init__(self, seed, *, words=ENGLISH, mean_words=1.5, mean_logit=-1.0, title_words=8):
        self.random = np.random.default_rng(seed)
        self.words, self.mean_words, self.mean_logit, self.title_words = words, mean_words, mean_logit, title_words

    def text(self, mean_words):
        return " ".join(self.random.choice(self.words, size=1 + self.random.poisson(mean_words)))

    def requests(self, count):
        for _ in range(count):
            products = [{"title": self.text(self.title_words)} for _ in range(self.random.integers(3, 20))]
            logits = self.random.normal(self.mean_logit, 1) + self.random.normal(0, 1.5, len(products))
            yield self.text(self.mean_words), products, 1 / (1 + np.exp(-logits))


@pytest.fixture(scope="module")
def tiny(tiny_artifact):
    return model_of(tiny_artifact)


@pytest.fixture(scope="module")
def other(other_artifact):
    return model_of(other_artifact)


@pytest.fixture(scope="module")
def default():
    """The default model's tokenizer, without references of its own."""
    return without_references(model_of(DEFAULT))


def told(watching, traffic, count):
    for request in traffic.requests(count):
        watching.ask(*request)
    return watching


@pytest.fixture(scope="module")
def saved(default):
    """A baseline of 1,500 requests."""
    return told(Watching(default), Traffic(0), 1500).saved()


def test_what_was_scored_is_counted_and_what_was_not_is_not(tiny):
    watching = Watching(tiny)
    products = [{"title": f"usb cable {i}"} for i in range(4)]
    watching.ask("usb", products, [0.12, np.nan, 0.92, 0.93])
    assert watching.value("drift_window_products", model="tiny") == 3
    bins = watching.scraped().bins["score"]
    assert {edge: count for edge, count in bins.items() if count} == {0.1: 1, 0.9: 2}


def test_what_the_model_reads_of_sampled_inputs_is_counted_by_side(tiny):
    watching = Watching(tiny)
    watching.ask("usb ★", [{"title": "charger ★ ★"}, {"title": "red " * 30, "brand": "acme"}], [0.5, 0.5])
    assert watching.value("inputs_total", side="query") == 1
    assert watching.value("inputs_total", side="product") == 2
    assert watching.value("input_tokens_total", side="query") == 2
    assert watching.value("unknown_tokens_total", side="query") == 1
    # Of the second title 20 tokens are read, and the letters of its brand.
    assert watching.value("input_tokens_total", side="product") == 3 + 24
    assert watching.value("unknown_tokens_total", side="product") == 2
    assert watching.value("truncated_inputs_total", side="product") == 1
    assert watching.value("truncated_inputs_total", side="query") == 0
    assert watching.value("truncated_fields_total", field="title") == 1
    assert watching.value("truncated_fields_total", field="brand") == 0


def test_of_a_long_list_every_score_is_counted_and_some_products_are_read(tiny):
    watching = Watching(tiny)
    watching.ask("usb", [{"title": "usb cable"}] * 500, np.linspace(0.01, 0.99, 500))
    assert watching.value("drift_window_products", model="tiny") == 500
    assert 1 < watching.value("inputs_total", side="product") <= READ_PRODUCTS


def test_a_model_without_a_tokenizer_is_watched_by_its_scores(tiny):
    watching = Watching(replace(tiny, tokenizer=None))
    watching.ask("usb", [{"title": "usb cable"}], [0.5])
    assert set(watching.scraped().bins) == {"score"}


def test_there_is_no_psi_before_there_is_enough(tiny):
    manifest = with_histogram(tiny.manifest, [5000] * 20)
    watching = Watching(replace(tiny, manifest=manifest))
    assert watching.value("drift_window_products", model="tiny") == 0
    told(watching, Traffic(1), 20)
    assert watching.value("drift_window_products", model="tiny") > 100
    assert watching.psi() == {}
    assert not [line for line in watching.text().splitlines() if line.endswith(" NaN")]
    told(watching, Traffic(2), 600)
    assert set(watching.psi()) == {"score"}


def test_the_scores_are_compared_with_the_histogram_of_the_manifest(tiny):
    traffic = Traffic(3)
    scores = np.concatenate([scores for _, _, scores in traffic.requests(4000)])
    counts, _ = np.histogram(scores, bins=20, range=(0, 1))
    model = replace(tiny, manifest=with_histogram(tiny.manifest, counts.tolist()))
    assert told(Watching(model), Traffic(4), 800).psi()["score"] < 0.02
    shifted = told(Watching(model), Traffic(5, mean_logit=1.0), 800)
    assert shifted.psi()["score"] > SHIFTED
    value = shifted.value("drift_psi", model="tiny", signal="score", reference="manifest")
    assert value == shifted.psi()["score"]


@pytest.mark.parametrize("seed", range(1, 9))
def test_the_same_traffic_is_flagged_in_no_signal(default, saved, seed):
    psi = told(Watching(default, saved), Traffic(seed), 500).psi()
    assert {"score", "query_tokens", "product_tokens", "query_truncated"} <= set(psi)
    assert max(psi.values()) < 0.1, psi


def test_scores_that_shift_are_detected_and_inputs_are_not_blamed(default, saved):
    psi = told(Watching(default, saved), Traffic(20, mean_logit=0.5), 500).psi()
    assert psi.pop("score") > SHIFTED
    assert max(psi.values()) < 0.1, psi


def test_longer_queries_are_detected(default, saved):
    psi = told(Watching(default, saved), Traffic(21, mean_words=4), 500).psi()
    assert psi["query_tokens"] > SHIFTED
    assert psi["product_tokens"] < 0.1


def test_longer_products_are_detected(default, saved):
    psi = told(Watching(default, saved), Traffic(22, title_words=50), 500).psi()
    assert psi["product_tokens"] > SHIFTED
    assert psi["product_truncated"] > SHIFTED
    assert psi["query_tokens"] < 0.1


@pytest.mark.parametrize("words", [GERMAN, RUSSIAN, JAPANESE])
def test_queries_in_another_language_are_detected(default, saved, words):
    foreign = Traffic(23, words=words)
    watching = Watching(default, saved)
    for (_, products, scores), (query, _, _) in zip(Traffic(24).requests(500), foreign.requests(500), strict=True):
        watching.ask(query, products, scores)
    psi = watching.psi()
    assert psi["query_tokens_per_word"] > SHIFTED
    assert max(value for signal, value in psi.items() if signal.startswith("product")) < 0.1


def test_a_third_of_the_traffic_in_another_language_is_detected(default, saved):
    watching = told(told(Watching(default, saved), Traffic(25), 350), Traffic(26, words=GERMAN), 150)
    assert watching.psi()["query_tokens_per_word"] > SHIFTED


def test_drift_passes_when_the_window_has_slid_over_it(default, saved):
    watching = told(Watching(default, saved), Traffic(27, mean_words=5), 500)
    assert watching.psi()["query_tokens"] > SHIFTED
    watching.now = WINDOW_S / 2
    told(watching, Traffic(28), 500)
    assert watching.psi()["query_tokens"] > 0.1
    watching.now = 1.2 * WINDOW_S
    assert watching.psi()["query_tokens"] < 0.1
    watching.now = 3 * WINDOW_S
    assert watching.psi() == {}
    assert watching.value("drift_window_products", model="tiny") == 0


def test_a_swap_begins_a_window_for_the_other_version(tiny, other):
    watching = told(Watching(tiny), Traffic(29), 30)
    assert watching.value("drift_window_products", model="tiny") > 0
    watching.swap(other)
    assert watching.value("drift_window_products", model="tiny") == 0
    assert watching.scraped().version == other.manifest.version
    watching.ask("usb", [{"title": "usb"}] * 2, [0.5, 0.6])
    assert watching.value("drift_window_products", model="tiny") == 2


def test_a_request_that_finishes_on_the_old_version_is_not_counted_for_the_other(tiny, other):
    watching = Watching(tiny)
    watching.swap(other)
    watching.ask("usb", [{"title": "usb"}], [0.5], model=tiny)
    assert watching.value("drift_window_products", model="tiny") == 0


def test_after_a_swap_a_saved_reference_holds_for_inputs_and_not_for_scores(default, saved, caplog):
    swapped = replace(default, manifest=default.manifest.model_copy(update={"version": "f" * 16}))
    watching = told(Watching(swapped, saved), Traffic(30), 500)
    assert "score" not in watching.psi()
    assert watching.psi()["query_tokens"] < 0.1
    assert "another version" in caplog.text


def test_a_saved_reference_goes_before_the_one_of_the_manifest(default, saved):
    model = replace(default, manifest=with_histogram(default.manifest, [0] * 19 + [1000]))
    assert told(Watching(model, saved), Traffic(31), 500).psi()["score"] < 0.1
    assert told(Watching(model), Traffic(31), 500).psi()["score"] > SHIFTED


def test_a_reference_may_have_other_bins(default):
    model = replace(default, manifest=with_histogram(default.manifest, [4000, 3000, 2000, 1000]))
    found = told(Watching(model), Traffic(32), 300).scraped()
    assert sorted(found.bins["score"]) == [float("-inf"), 0.25, 0.5, 0.75]
    assert "score" in found.psi


class Offered(Watching):
    """With the thread at work, and a clock of its computing time that a test sets."""

    def __init__(self, model, **options):
        super().__init__(model, **options)
        self.cpu = 0.0
        self.monitor._cpu_clock = lambda: self.cpu
        self.done = threading.Semaphore(0)
        observe = self.monitor.observe

        def observed(answered):
            observe(answered)
            self.cpu += 0.001
            self.done.release()

        self.monitor.observe = observed
        self.monitor.start()

    def offer(self, request_id="r"):
        job = answered_job("usb", [{"title": "usb"}], [0.5], self.slot.current.model.manifest)
        job.request_id = request_id
        self.monitor.offer(job, self.slot.current)

    def counted(self):
        return self.value("drift_window_products", model="tiny")

    def wait_until_free(self):
        while self.monitor._busy:
            threading.Event().wait(0.001)


@pytest.fixture
def offered(tiny):
    made = []

    def make(**options):
        made.append(Offered(tiny, **options))
        return made[-1]

    yield make
    for each in made:
        each.monitor.stop()


def test_a_request_is_counted_in_the_thread_and_then_the_thread_rests(offered):
    watching = offered()
    watching.offer()
    assert watching.done.acquire(timeout=60)
    watching.wait_until_free()
    assert watching.counted() == 1
    watching.now = 0.99 * 0.001 / BUSY_SHARE
    watching.offer()
    assert watching.counted() == 1
    assert not watching.monitor._busy
    watching.now = 1.01 * 0.001 / BUSY_SHARE
    watching.offer()
    assert watching.done.acquire(timeout=60)
    assert watching.counted() == 2


def test_requests_are_sampled_by_their_ids(offered):
    watching = offered(rate=0.2)
    for i in range(200):
        watching.offer(str(i))
        watching.wait_until_free()
        watching.now += 1.0
    assert 15 < watching.counted() < 70


def test_a_request_that_cannot_be_counted_is_logged_and_the_next_one_counts(offered, caplog):
    watching = offered()
    job = answered_job("usb", [{"title": "usb"}], [0.5], watching.slot.current.model.manifest)
    job.products = [None]
    watching.monitor.offer(job, watching.slot.current)
    watching.wait_until_free()
    assert "could not be counted" in caplog.text
    watching.now = 100.0
    watching.offer()
    assert watching.done.acquire(timeout=60)
    assert watching.counted() == 1


def test_a_thread_that_waits_holds_no_request(offered):
    watching = offered()
    job = answered_job("usb", [{"title": "usb"}], [0.5], watching.slot.current.model.manifest)
    gone = weakref.ref(job)
    watching.monitor.offer(job, watching.slot.current)
    del job
    assert watching.done.acquire(timeout=60)
    watching.wait_until_free()
    assert gone() is None


def test_a_service_counts_what_it_answers(serve):
    service = serve()
    assert service.score("usb cable", "garden hose", "red shoe").status_code == 200
    service.wait_until(lambda: service.metric("drift_window_products", model="tiny") == 3)
    text = service.client.get("/metrics").text
    assert 'shelfscore_drift_window_inputs{at_least="-Inf",model="tiny",signal="query_tokens"} 0.0' in text
    assert 'shelfscore_input_tokens_total{side="product"} 6.0' in text


def test_without_a_rate_nothing_is_watched(serve):
    service = serve(drift_rate=0)
    assert service.score("usb cable").status_code == 200
    assert "shelfscore_drift" not in service.client.get("/metrics").text

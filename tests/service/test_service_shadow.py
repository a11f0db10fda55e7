"""A second model that scores a share of the requests for the metrics alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact.loading import read_manifest
from service.model import Model
from service.sampling import is_sampled
from service.shadow import RANKED_PRODUCTS, rank_disagreement

from .serving import FakeEngine, GatedEngine

OUTCOMES = ("compared", "dropped", "failed")


class ShiftedEngine(FakeEngine):
    """Scores products otherwise than FakeEngine does, in the same order."""

    def score_pairs(self, pairs):
        return super().score_pairs(pairs) + 1


def loader(default, shadow):
    """Puts `default` behind the tiny artifact, and `shadow` behind the other."""

    def load(settings, metrics):
        manifest = read_manifest(settings.model_dir)
        return Model(manifest, manifest.variants[0], default if manifest.name == "tiny" else shadow)

    return load


@pytest.fixture
def shadowed(serve, other_artifact):
    def start(default, shadow, **options):
        given = {"models": str(other_artifact), "shadow_model": "other", "shadow_rate": 1.0, **options}
        return serve(load=loader(default, shadow), **given)

    return start


def counted(service):
    return {outcome: service.metric("shadow_requests_total", outcome=outcome) for outcome in OUTCOMES}


def wait_for(service, **wanted):
    wanted = dict.fromkeys(OUTCOMES, 0) | wanted
    service.wait_until(lambda: counted(service) == wanted)


def test_the_difference_goes_to_the_metrics_and_the_answer_stays(shadowed, serve, tiny_artifact, other_artifact):
    service = shadowed(FakeEngine(), ShiftedEngine())
    answer = service.score("0.5", "-1", "2")
    assert answer.json()["logits"] == [0.5, -1, 2]
    assert answer.json()["model"]["name"] == "tiny"
    wait_for(service, compared=1)
    served, shadow = (read_manifest(folder).calibration for folder in (tiny_artifact, other_artifact))
    logits = np.array([0.5, -1, 2])
    difference = np.abs(shadow.scores(logits + 1) - served.scores(logits)).mean()
    assert service.metric("shadow_score_difference_sum") == pytest.approx(difference)
    assert service.metric("shadow_rank_disagreement_sum") == 0
    assert service.metric("shadow_rank_disagreement_count") == 1


def test_a_model_that_is_the_same_differs_by_nothing(serve, tiny_artifact):
    service = serve(models=f"twin={tiny_artifact}", shadow_model="twin", shadow_rate=1)
    titles = [f"usb cable {i % 40}" for i in range(300)]
    assert service.score(*titles).status_code == 200
    wait_for(service, compared=1)
    assert service.metric("shadow_score_difference_sum") == pytest.approx(0, abs=1e-6)
    assert service.metric("shadow_rank_disagreement_sum") == 0


def test_a_request_that_comes_while_the_shadow_works_waits_for_one_micro_batch_of_it(shadowed):
    shadow = GatedEngine()
    service = shadowed(FakeEngine(), shadow, lanes=1, batch_tokens=8)
    assert service.score(*["1"] * 50).status_code == 200
    shadow.wait_until_entered()
    with service.sending("/score", json={"query": "usb", "products": [{"title": "3"}]}) as second:
        service.wait_until(lambda: service.metric("queued_units") == 1)
        shadow.gate.release()
        answer = second.result(60)
        assert (answer.status_code, answer.json()["logits"]) == (200, [3.0])
        assert shadow.scored == ["1"]
    shadow.open()
    # The second one is sampled too, while the shadow is in work with the first.
    wait_for(service, compared=1, dropped=1)


def test_it_works_beside_a_request_where_a_lane_is_idle(shadowed):
    default = GatedEngine()
    service = shadowed(default, FakeEngine(), lanes=2)
    with service.sending("/score", json={"query": "usb", "products": [{"title": "1"}]}) as first:
        default.wait_until_entered()
        with service.sending("/score", json={"query": "usb", "products": [{"title": "2"}]}) as second:
            default.wait_until_entered()
            default.open(1)
            service.wait_until(lambda: first.done() or second.done())
            wait_for(service, compared=1)
            default.open()
            assert first.result(60).status_code == second.result(60).status_code == 200
    wait_for(service, compared=2)


def test_a_drain_ends_it(shadowed):
    shadow = GatedEngine()
    service = shadowed(FakeEngine(), shadow, lanes=1)
    assert service.score("1").status_code == 200
    shadow.wait_until_entered()
    service.call(service.runtime.drain)
    wait_for(service, dropped=1)
    shadow.open()


def test_its_work_takes_no_room_from_real_requests(shadowed):
    shadow = GatedEngine()
    service = shadowed(FakeEngine(), shadow, max_backlog_ms=1)
    assert service.score(*["1"] * 50).status_code == 200
    shadow.wait_until_entered()
    # Were the shadow's work counted, there would be no room.
    with service.sending("/score", json={"query": "usb", "products": [{"title": "2"}] * 50, "model": "other"}) as real:
        service.wait_until(lambda: service.metric("queued_products") == 50)
        shadow.open()
        assert real.result(60).json()["logits"] == [2.0] * 50


def test_a_shadow_that_fails_is_counted_and_nothing_else(shadowed):
    class Failing(FakeEngine):
        def score_pairs(self, pairs):  # noqa: ARG002
            raise RuntimeError("no score today")

    service = shadowed(FakeEngine(), Failing())
    for turn in range(1, 4):
        assert service.score("1", "2").json()["logits"] == [1, 2]
        wait_for(service, failed=turn)
    assert service.client.get("/health/live").status_code == 200
    assert service.metric("shadow_score_difference_count") == 0


def test_scores_that_are_not_finite_are_left_out_of_the_difference(shadowed):
    service = shadowed(FakeEngine(), FakeEngine())
    service.score("nan", "1", "2")
    wait_for(service, compared=1)
    assert math.isfinite(service.metric("shadow_score_difference_sum"))
    service.score("nan")
    wait_for(service, compared=1, failed=1)


def test_only_requests_of_the_default_model_are_sampled(shadowed):
    service = shadowed(FakeEngine(), FakeEngine())
    assert service.score("1", model="other").status_code == 200
    assert service.score("1", "2", model="tiny").status_code == 200
    wait_for(service, compared=1)


def test_the_sample_is_chosen_by_the_request_id(shadowed):
    service = shadowed(FakeEngine(), FakeEngine(), shadow_rate=0.5)
    ids = [f"request-{i}" for i in range(40)]
    body = {"query": "usb", "products": [{"title": "1"}]}
    sampled = 0
    for request_id in ids:
        assert service.client.post("/score", json=body, headers={"x-request-id": request_id}).status_code == 200
        sampled += is_sampled(request_id, 0.5)
        wait_for(service, compared=sampled)
    assert 5 < sampled < 35


def test_no_shadow_without_the_setting(service):
    service.score("usb", "cable")
    assert 'shadow_requests_total{outcome="compared"}' not in service.client.get("/metrics").text


def test_a_sample_has_the_share_asked_for_and_grows_with_it():
    ids = [f"{i:x}" for i in range(20_000)]
    small, large = ({each for each in ids if is_sampled(each, rate)} for rate in (0.01, 0.1))
    assert small < large
    assert 120 < len(small) < 280
    assert 1800 < len(large) < 2200
    assert not any(is_sampled(each, 0.0) for each in ids)
    assert all(is_sampled(each, 1.0) for each in ids)


scores = st.lists(st.integers(0, 50).map(lambda n: n / 50), min_size=2, max_size=60)


@given(scores)
def test_a_list_agrees_with_itself_and_disagrees_with_its_reverse(values):
    array = np.array(values)
    if len(set(values)) == 1:
        assert rank_disagreement(array, array) is None
    else:
        assert rank_disagreement(array, array) == 0
        assert rank_disagreement(array, -array) == 1


def test_a_pair_tied_in_one_list_is_half_right():
    assert rank_disagreement(np.array([0.1, 0.1, 0.3]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1 / 6)
    assert rank_disagreement(np.array([0.1]), np.array([0.2])) is None


def test_the_ranks_of_a_thousand_products_are_looked_at_from_first_to_last():
    values = np.linspace(0, 1, 1000)
    assert rank_disagreement(values, np.concatenate([values[:500], values[500:][::-1]])) == pytest.approx(
        0.25, abs=0.02
    )
    assert len(values[:: -(-1000 // RANKED_PRODUCTS)]) <= RANKED_PRODUCTS

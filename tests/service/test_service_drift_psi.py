"""Simulated drift is told from chance. Everything here is drawn by fixed seeds."""

import numpy as np
import pytest

from artifact.distribution import Distribution, distribution_of, no_sums, request_sums
from artifact.reading import SIGNALS
from service.drift.psi import MODERATE, SHIFTED, by_chance, compare, verdict

EDGES = SIGNALS["score"]


def traffic(seed, requests, *, shift=0.0, mixed=0.0):
    """Scores of requests: each query has products that resemble each other, of some 20 to 100.

    Args:
        shift: of all logits.
        mixed: share of the requests whose logits are shifted by 3 instead.
    """
    random = np.random.default_rng(seed)
    found = []
    for _ in range(requests):
        moved = 3.0 if random.random() < mixed else shift
        logits = random.normal(-1 + moved, 1.2) + random.normal(0, 1.5, size=random.integers(20, 100))
        found.append(1 / (1 + np.exp(-logits)))
    return found


def counted(requests, edges=EDGES):
    return distribution_of(sum((request_sums(each, edges) for each in requests), no_sums(edges)), edges)


def one_by_one(values, edges):
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return Distribution(edges=edges, counts=tuple(counts.tolist()))


def test_of_equal_shares_the_index_is_zero():
    one = Distribution(edges=(0.5,), counts=(300, 700))
    assert compare(one, Distribution(edges=(0.5,), counts=(600, 1400))).raw == pytest.approx(0, abs=1e-6)


def test_the_index_is_the_one_of_the_textbook():
    reference = Distribution(edges=(0.5,), counts=(500_000, 500_000))
    found = compare(reference, Distribution(edges=(0.5,), counts=(700_000, 300_000)))
    assert found.raw == pytest.approx(0.2 * np.log(0.7 / 0.5) - 0.2 * np.log(0.3 / 0.5), rel=1e-4)
    assert found.value == pytest.approx(found.raw, abs=1e-5)


def test_the_index_is_the_same_both_ways():
    one, other = counted(traffic(0, 300)), counted(traffic(1, 200, shift=1))
    assert compare(one, other).raw == pytest.approx(compare(other, one).raw)
    assert compare(one, other).chance == pytest.approx(compare(other, one).chance)


def test_a_bin_that_is_empty_on_one_side_gives_a_number():
    reference = Distribution(edges=(1.0, 2.0), counts=(1000, 0, 0))
    found = compare(reference, Distribution(edges=(1.0, 2.0), counts=(500, 500, 0)))
    assert 1 < found.value < 5
    assert compare(reference, reference).value == 0


def test_bins_that_differ_are_refused():
    with pytest.raises(ValueError, match="bins"):
        compare(Distribution(edges=(1.0,), counts=(1, 1)), Distribution(edges=(2.0,), counts=(1, 1)))


@pytest.mark.parametrize(("inputs", "reference_inputs"), [(500, 500), (2000, 700), (300, 20_000)])
def test_what_chance_makes_of_independent_inputs_is_what_is_taken_off(inputs, reference_inputs):
    found = []
    for seed in range(300):
        random = np.random.default_rng(seed)
        one, other = (
            Distribution(edges=EDGES, counts=tuple(random.multinomial(n, np.full(20, 0.05)).tolist()))
            for n in (reference_inputs, inputs)
        )
        found.append(compare(one, other))
    mean, spread = by_chance(20, one, other)
    assert np.mean([each.raw for each in found]) == pytest.approx(mean, rel=0.1)
    assert np.std([each.raw for each in found]) == pytest.approx(spread, rel=0.2)


def test_what_chance_makes_of_requests_is_what_is_taken_off_though_their_products_resemble_each_other():
    found = [compare(counted(traffic(seed, 400)), counted(traffic(seed + 10_000, 400))) for seed in range(60)]
    chance = np.mean([each.chance for each in found])
    assert np.mean([each.raw for each in found]) == pytest.approx(chance, rel=0.2)
    # Taken for independent, the products would have promised far less.
    found = counted(traffic(0, 400)).model_copy(update={"independent_inputs": None})
    assert by_chance(20, found, found)[0] < chance / 2


def test_no_drift_is_not_flagged_in_any_of_many_runs():
    settled = 0
    for seed in range(60):
        reference, window = counted(traffic(seed, 500)), counted(traffic(seed + 10_000, 30 + 5 * seed))
        found = compare(reference, window)
        if found.is_settled:
            settled += 1
            assert verdict(found.value) == "stable", (seed, found)
    assert settled > 40


@pytest.mark.parametrize("signal", ["query_tokens", "query_truncated", "query_unknown_share"])
def test_no_drift_of_one_input_a_request_is_not_flagged_either(signal):
    draws = {
        "query_tokens": lambda random, n: 1 + random.poisson(2.5, n),
        "query_truncated": lambda random, n: random.random(n) < 0.02,
        "query_unknown_share": lambda random, n: np.where(random.random(n) < 0.005, 0.5, 0.0),
    }
    settled = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        reference, window = (one_by_one(draws[signal](random, n), SIGNALS[signal]) for n in (2000, 250 + 5 * seed))
        found = compare(reference, window)
        if found.is_settled:
            settled += 1
            assert verdict(found.value) == "stable", (seed, found)
    assert settled > 100


def test_little_traffic_is_not_judged():
    reference = counted(traffic(0, 2000))
    for seed in range(1, 20):
        found = compare(reference, counted(traffic(seed, 15)))
        assert not found.is_settled


def test_a_reference_of_little_traffic_judges_nobody():
    reference = counted(traffic(0, 15))
    assert not compare(reference, counted(traffic(1, 5000))).is_settled


@pytest.mark.parametrize("drift", [{"shift": 1.5}, {"shift": -1.5}, {"mixed": 0.5}])
def test_shifted_scores_are_detected_in_every_run(drift):
    for seed in range(30):
        reference, window = counted(traffic(seed, 1200)), counted(traffic(seed + 10_000, 1000, **drift))
        found = compare(reference, window)
        assert found.is_settled
        assert found.value > SHIFTED, (seed, found)


def test_a_small_shift_is_moderate_and_a_larger_one_reads_higher():
    reference = counted(traffic(0, 4000))
    values = [compare(reference, counted(traffic(1, 4000, shift=shift))).value for shift in (0, 0.3, 0.6, 0.9, 1.2)]
    assert values == sorted(values)
    assert values[0] < 0.01
    assert any(MODERATE <= value < SHIFTED for value in values)
    assert verdict(0.05) == "stable"
    assert verdict(0.1) == "moderate"
    assert verdict(0.25) == "shifted"

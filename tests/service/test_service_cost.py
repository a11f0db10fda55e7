import pytest

from service.cost import OUTLIER, WINDOW_S, CostEstimate, StageCost


def test_nothing_is_known_before_the_first_measurement():
    estimate = CostEstimate()
    assert estimate.product_s == estimate.pairs.unit_s == 0.0
    assert estimate.micro_batch_products == 1.0


def test_work_of_any_size_gives_its_cost_per_product():
    stage = StageCost()
    for products in (1, 16, 3, 8) * 20:
        stage.observe(0.002 * products, products)
    assert stage.product_s == pytest.approx(0.002)
    assert stage.unit_s == pytest.approx(0.014, rel=0.2)


def test_both_stages_add_up():
    estimate = CostEstimate()
    estimate.prepare.observe(0.001, 10)
    estimate.pairs.observe(0.016, 16)
    assert estimate.product_s == pytest.approx(0.0011)
    assert estimate.micro_batch_products == pytest.approx(16)


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_it_follows_a_machine_that_changes_within_a_second_of_work(factor):
    stage = StageCost()
    for _ in range(100):
        stage.observe(0.010, 10)
    spent = 0.0
    while spent < 4 * WINDOW_S:
        stage.observe(0.010 * factor, 10)
        spent += 0.010 * factor
    assert stage.product_s == pytest.approx(0.001 * factor, rel=0.15)


def test_one_outlier_moves_it_by_less_than_a_half_and_is_forgotten():
    stage = StageCost()
    for _ in range(100):
        stage.observe(0.010, 10)
    stage.observe(30.0, 10)
    assert stage.product_s < 0.0015
    for _ in range(30):
        stage.observe(0.010, 10)
    assert stage.product_s == pytest.approx(0.001, rel=0.05)


def test_an_outlier_at_the_very_first_is_forgotten_too():
    stage = StageCost()
    stage.observe(5.0, 10)
    spent = 0.0
    while spent < 8 * WINDOW_S:
        stage.observe(0.010, 10)
        spent += 0.010
    assert stage.product_s < 0.001 * OUTLIER

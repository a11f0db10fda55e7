"""Micro-batches of several requests that run together."""

import numpy as np
import pytest

from service.cost import CostModel
from service.job import Job
from service.metrics import Metrics
from service.pair_stage import LEAVE, PairJoint, PairStage, PairWork
from service.planner import MicroBatch

from .serving import FakeEngine


class Recording(FakeEngine):
    def __init__(self):
        self.runs = []

    def score_pairs(self, pairs):
        self.runs.append([title for _, title in pairs])
        return super().score_pairs(pairs)


def job_of(deadline=100.0):
    return Job("q", [{}], deadline=deadline, partial=False, request_id="r", submitted=0.0, on_finish=lambda: None)


class Stage:
    def __init__(self, *, wait_s=0.0, budget_tokens=256):
        self.engine = Recording()
        self.metrics = Metrics()
        self.cost = CostModel((), budget_tokens)
        for _ in range(300):
            # A run costs something by itself: so joining pays.
            for pairs in (1, 2, 4):
                self.cost.observe_pairs(0.001 + pairs * 0.0002, pairs, 16)
        self.stage = PairStage(
            self.engine,
            self.cost,
            budget_tokens=budget_tokens,
            clock=lambda: 10.0,
            metrics=self.metrics,
            wait_s=wait_s,
        )
        self.kept = {}

    def unit(self, *titles, longest=16, deadline=100.0):
        batch = MicroBatch(tuple(range(len(titles))), longest, 8 * len(titles))
        keep = lambda logits: self.kept.__setitem__(titles, logits.tolist())  # noqa: E731
        return self.stage.unit(job_of(deadline), PairWork([("q", title) for title in titles], batch, keep))


def joint_of(unit):
    return unit.joint(unit)


def test_units_that_run_together_are_one_run_of_the_engine_and_each_gets_its_own_logits():
    stage = Stage()
    units = [stage.unit("1", "2"), stage.unit("3"), stage.unit("4", "5", "6")]
    units[0].run(units)
    assert stage.engine.runs == [["1", "2", "3", "4", "5", "6"]]
    assert stage.kept == {("1", "2"): [1, 2], ("3",): [3], ("4", "5", "6"): [4, 5, 6]}
    read = stage.metrics.registry.get_sample_value
    assert read("shelfscore_scored_pairs_total") == 6
    assert read("shelfscore_tokens_total", {"kind": "padding"}) == 6 * 16 - 6 * 8


def test_small_units_of_like_length_run_together_up_to_the_budget():
    stage = Stage(budget_tokens=64)
    joint = joint_of(stage.unit("1"))
    assert not joint.add(stage.unit("2", "3", "4", "5"))
    assert joint.add(stage.unit("2"))
    assert not joint.add(stage.unit("3", "4", "5"))
    assert joint.add(stage.unit("3", "4"))


def test_a_short_pair_does_not_run_with_one_so_long_that_padding_costs_more_than_a_run():
    stage = Stage()
    assert not joint_of(stage.unit("1", "2", "3", longest=16)).add(stage.unit("4", longest=64))


def test_units_of_different_models_never_run_together():
    one, other = Stage(), Stage()
    assert not joint_of(one.unit("1")).add(other.unit("2"))


@pytest.mark.parametrize(("deadline", "latest"), [(100.0, 10.005), (10.012, None)])
def test_a_unit_waits_for_others_no_longer_than_its_deadline_leaves_time(deadline, latest):
    stage = Stage(wait_s=0.005)
    expected = latest if latest is not None else deadline - LEAVE * stage.cost.micro_batch_s
    assert expected < 10.006
    assert stage.unit("1", deadline=deadline).hold_until == pytest.approx(expected)


def test_without_a_wait_nothing_is_held():
    assert Stage().unit("1").hold_until == -np.inf


def test_a_micro_batch_is_full_when_no_further_pair_fits():
    stage = Stage(wait_s=0.005, budget_tokens=64)
    joint = joint_of(stage.unit("1", "2", "3"))
    assert not joint.full
    assert joint.add(stage.unit("4"))
    assert joint.full


class CountingCost(CostModel):
    asked = 0

    def pairs_s(self, pairs, longest):
        self.asked += 1
        return super().pairs_s(pairs, longest)


def test_what_joining_a_unit_costs_does_not_grow_with_those_that_have_joined():
    stage = Stage(budget_tokens=16_384)
    units = [stage.unit(str(i)) for i in range(500)]
    cost = CountingCost((), 16_384)
    joint = PairJoint(units[0], cost, 16_384)
    assert all(joint.add(unit) for unit in units[1:])
    assert cost.asked < 3 * len(units)

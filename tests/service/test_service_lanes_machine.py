"""Requests come, leave, expire and fail on a simulated clock: no job is lost, and no product is scored twice."""

from collections import Counter
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.errors import ClientGoneError, DeadlineExceededError, InternalError

from .serving import FakeEngine
from .simulation import PAIR_S, CostlyEngine, Simulation

HOUR_S = 3600.0


class TellingEngine(CostlyEngine):
    """Scores a product by the number in its title, which is of any length, and counts how often; fails for `broken`."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.times_scored = Counter()

    def pair_tokens(self, _, product):
        return 8 if product == "broken" else 4 + int(product) * 5 % 9

    def score_pairs(self, pairs):
        self._spend(self.run_s + PAIR_S * len(pairs))
        logits = FakeEngine.score_pairs(self, pairs)
        self.times_scored.update(title for _, title in pairs)
        return logits


class LanesMachine(RuleBasedStateMachine):
    @initialize(lanes=st.integers(1, 3), run_s=st.sampled_from([0.0, 0.002]), admission=st.booleans())
    def begin(self, lanes, run_s, admission):
        self.simulation = Simulation(lanes, admission, noise=0.2, run_s=run_s, engine=TellingEngine)
        self.titles = count()
        self.asked = {}
        self.left = set()

    @property
    def now(self):
        return self.simulation.clock.now - 100.0

    @rule(
        products=st.integers(1, 60),
        timeout_ms=st.integers(1, 400),
        partial=st.booleans(),
        broken=st.sampled_from([False, False, False, True]),
    )
    def a_request_comes(self, products, timeout_ms, partial, broken):
        titles = [str(next(self.titles)) for _ in range(products)]
        if broken:
            titles[products // 2] = "broken"
        job = self.simulation.submit(products, timeout_ms / 1000, partial, titles)
        if job is not None:
            self.asked[job] = titles

    @precondition(lambda self: any(not job.ended for job in self.asked))
    @rule(data=st.data())
    def a_caller_leaves(self, data):
        job = data.draw(st.sampled_from([job for job in self.asked if not job.ended]))
        self.left.add(job)
        self.simulation.leave(job)

    @rule(milliseconds=st.integers(1, 300))
    def time_passes(self, milliseconds):
        self.simulation.run(self.now + milliseconds / 1000)

    @rule(slowness=st.sampled_from([0.5, 1.0, 3.0, 10.0]))
    def the_machine_becomes_slower_or_faster(self, slowness):
        self.simulation.engine.slowness = slowness

    @invariant()
    def every_job_ends_once_and_rightly(self):
        if not hasattr(self, "simulation"):
            return
        ended = self.simulation.ended
        assert len({id(job) for job, _ in ended}) == len(ended), "a job ended twice"
        assert {job for job, _ in ended} == {job for job in self.asked if job.ended}, "an end that nobody was told of"
        assert len(self.simulation.backlog) == sum(not job.ended for job in self.asked)
        for job, when in ended:
            self._check_end(job, when)

    def _check_end(self, job, when):
        titles = self.asked[job]
        logits, scored = job.results()
        told = [float(title) for title, known in zip(titles, scored, strict=True) if known]
        assert logits[scored].tolist() == told, "another product's score"
        match job.error:
            case None:
                assert scored.all()
            case DeadlineExceededError():
                assert when >= job.deadline
            case ClientGoneError():
                assert job in self.left
            case InternalError():
                assert "broken" in titles
            case other:
                pytest.fail(f"ended by {other!r}")

    @invariant()
    def no_product_is_scored_twice(self):
        if hasattr(self, "simulation"):
            times = self.simulation.engine.times_scored
            assert all(each == 1 for each in times.values()), times

    def teardown(self):
        if not hasattr(self, "simulation"):
            return
        self.simulation.run(self.now + HOUR_S)
        assert all(job.ended for job in self.asked), "a job is lost"
        self.every_job_ends_once_and_rightly()
        assert len(self.simulation.backlog) == self.simulation.backlog.products == 0
        assert self.simulation.backlog.seconds == pytest.approx(0.0)
        assert not any(lanes.waiting for lanes in self.simulation.free_at)


TestLanes = LanesMachine.TestCase

"""Scorer, lanes and jobs with an engine that tests control and a clock that they set."""

import random
import threading

import numpy as np
import pytest

from service.admission import BoundedBacklog, RetryAfter
from service.backlog import Backlog
from service.cost import CostModel
from service.errors import ClientGoneError, DeadlineExceededError, DrainingError, InternalError, OverloadedError
from service.lanes import STALL_S
from service.metrics import Metrics
from service.preparation import PREPARE_PRODUCTS
from service.scorer import Scorer
from service.workers import Workers

from .serving import FakeEngine, GatedEngine


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Bench:
    """A scorer over real lanes."""

    def __init__(self, engine, lanes=1, room_s=1000.0, start=True, preparing=0, batch_wait_s=0.0):
        self.clock = Clock()
        self.metrics = Metrics()
        self.lanes = Workers.make(lanes, preparing, self.clock, self.metrics, lambda *_: None)
        retry_after = RetryAfter(lambda: 1.0, random.Random(0))
        self.backlog = Backlog(BoundedBacklog(lambda: room_s, lambda: lanes, retry_after), lambda *_: None)
        self.scorer = Scorer(
            engine,
            self.lanes,
            self.backlog,
            budget_tokens=64,
            clock=self.clock,
            metrics=self.metrics,
            cost=CostModel(),
            batch_wait_s=batch_wait_s,
        )
        if start:
            self.lanes.start()

    def submit(self, *titles, deadline=200.0, partial=False):
        ended = threading.Event()
        job = self.scorer.submit(
            "query",
            [{"title": title} for title in titles],
            deadline=deadline,
            partial_answer=partial,
            request_id="r1",
            on_finish=ended.set,
        )
        return job, ended

    def dropped(self, reason):
        return self.metrics.registry.get_sample_value("shelfscore_dropped_units_total", {"reason": reason}) or 0


@pytest.fixture
def bench():
    made = []

    def make(engine, **options):
        made.append((Bench(engine, **options), engine))
        return made[-1][0]

    yield make
    for each, engine in made:
        if isinstance(engine, GatedEngine):
            engine.open()
        each.lanes.stop()


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("count", [1, PREPARE_PRODUCTS, PREPARE_PRODUCTS + 1, 200])
def test_logits_return_to_request_order(bench, lanes, count):
    made = bench(FakeEngine(), lanes=lanes)
    job, ended = made.submit(*map(str, range(count)))
    assert ended.wait(60)
    logits, scored = job.results()
    assert job.error is None
    assert scored.all()
    assert logits.tolist() == list(range(count))
    assert made.backlog.products == 0


def test_expired_work_is_dropped_before_it_runs(bench):
    engine = GatedEngine()
    made = bench(engine)
    made.submit("1")
    engine.wait_until_entered()
    late, ended = made.submit("2", deadline=150.0)
    made.clock.now = 150.0
    engine.open()
    assert ended.wait(60)
    assert isinstance(late.error, DeadlineExceededError)
    assert "2" not in engine.scored
    assert made.dropped("expired") == 1
    assert made.backlog.products == 0


def test_work_whose_caller_left_is_dropped_before_it_runs(bench):
    engine = GatedEngine()
    made = bench(engine)
    made.submit("1")
    engine.wait_until_entered()
    gone, _ = made.submit("2")
    gone.end(ClientGoneError("left"))
    last, ended = made.submit("3")
    engine.open()
    assert ended.wait(60)
    assert last.error is None
    assert engine.scored == ["1", "3"]
    assert made.dropped("abandoned") == 1


def test_the_rest_of_a_request_is_dropped_once_one_of_its_micro_batches_failed(bench):
    made = bench(FakeEngine())
    job, ended = made.submit("broken", *["1"] * 40)
    assert ended.wait(60)
    assert isinstance(job.error, InternalError)
    other, ended = made.submit("7")
    assert ended.wait(60)
    assert other.results()[0].tolist() == [7.0]
    assert made.dropped("failed") >= 1


def test_a_result_that_comes_after_the_end_changes_nothing(bench):
    engine = GatedEngine()
    made = bench(engine)
    job, _ = made.submit("1")
    engine.wait_until_entered()
    job.end(DeadlineExceededError("late"))
    engine.open()
    made.lanes.stop()
    assert not job.results()[1].any()
    assert isinstance(job.error, DeadlineExceededError)


def test_a_product_recorded_again_counts_once(bench):
    made = bench(FakeEngine(), start=False)
    job, ended = made.submit("1", "2")
    job.record([0], np.array([1.0], dtype=np.float32))
    job.record([0], np.array([1.0], dtype=np.float32))
    assert job.unscored == 1
    assert not ended.is_set()
    job.record([0, 1], np.array([1.0, 2.0], dtype=np.float32))
    assert ended.is_set()


def test_a_full_queue_refuses_and_recovers(bench):
    engine = GatedEngine()
    made = bench(engine, room_s=CostModel(budget_tokens=64).request_s(3, 8.0, PREPARE_PRODUCTS))
    _, ended = made.submit("1", "2")
    with pytest.raises(OverloadedError):
        made.submit("3", "4")
    assert made.backlog.products == 2
    engine.open()
    assert ended.wait(60)
    _, ended = made.submit("3", "4")
    assert ended.wait(60)


def test_a_deadline_that_has_passed_is_refused_at_once(bench):
    made = bench(FakeEngine())
    with pytest.raises(DeadlineExceededError):
        made.submit("1", deadline=100.0)
    assert made.backlog.products == 0


def test_a_partial_answer_whose_deadline_has_passed_is_empty_and_takes_no_lane(bench):
    made = bench(FakeEngine())
    job, ended = made.submit("1", deadline=100.0, partial=True)
    assert ended.is_set()
    assert not job.results()[1].any()
    assert made.backlog.products == 0


def test_stopping_ends_what_waits(bench):
    made = bench(FakeEngine(), start=False)
    job, ended = made.submit("1")
    assert made.lanes.waiting == 1
    made.lanes.stop()
    assert ended.wait(60)
    assert isinstance(job.error, DrainingError)


def test_work_handed_in_after_the_stop_ends_too(bench):
    made = bench(FakeEngine())
    made.lanes.stop()
    job, ended = made.submit("1")
    assert ended.wait(60)
    assert isinstance(job.error, DrainingError)


def test_a_lane_stuck_in_one_unit_is_not_alive(bench):
    engine = GatedEngine()
    made = bench(engine, lanes=2)
    assert made.lanes.alive() == 2
    made.submit("1")
    engine.wait_until_entered()
    assert made.lanes.alive() == 2
    made.clock.now += STALL_S
    assert made.lanes.alive() == 1


def test_lanes_that_were_not_started_are_not_alive(bench):
    assert bench(FakeEngine(), start=False).lanes.alive() == 0


def test_stage_times_add_up_on_the_clock_that_was_passed_in(bench):
    engine = GatedEngine()
    made = bench(engine)
    job, ended = made.submit("1")
    engine.wait_until_entered()
    made.clock.now += 5.0
    engine.open()
    assert ended.wait(60)
    assert job.times.inference_s == 5.0
    assert job.times.queue_s == 0.0


def test_padding_and_pairs_are_counted(bench):
    made = bench(FakeEngine())
    _, ended = made.submit(*["1"] * 20)
    assert ended.wait(60)
    read = made.metrics.registry.get_sample_value
    assert read("shelfscore_scored_pairs_total") == 20
    assert read("shelfscore_tokens_total", {"kind": "text"}) == 160
    assert read("shelfscore_tokens_total", {"kind": "padding"}) == 0
    assert read("shelfscore_micro_batch_duration_seconds_count") == 3


def test_small_requests_that_waited_together_run_together_and_each_gets_its_own_scores(bench):
    engine = GatedEngine()
    made = bench(engine, preparing=1)
    first, _ = made.submit("0")
    engine.wait_until_entered()
    later = [made.submit(str(i)) for i in range(1, 6)]
    # The lane that prepares is another: all five wait for the one that scores.
    while made.lanes.pairs.waiting < 5:
        pass
    engine.open()
    assert all(ended.wait(60) for _, ended in later)
    assert [job.results()[0].tolist() for job, _ in later] == [[float(i)] for i in range(1, 6)]
    assert engine.runs == [1, 5]
    assert first.error is None


@pytest.mark.parametrize(("batch_wait_s", "runs"), [(0.0, [1, 1]), (0.005, [2])])
def test_a_request_of_one_micro_batch_waits_for_others_where_a_setting_says_so(bench, batch_wait_s, runs):
    engine = GatedEngine()
    engine.open()
    made = bench(engine, start=False, batch_wait_s=batch_wait_s)
    jobs = [made.submit(str(i))[0] for i in range(2)]
    while made.lanes.pairs.run_next():
        pass
    assert engine.runs == runs
    assert [job.results()[0].tolist() for job in jobs] == [[0.0], [1.0]]


class PreparingEngine(FakeEngine):
    def __init__(self):
        self.prepared = threading.Semaphore(0)

    def prepare_products(self, products):
        self.prepared.release()
        return super().prepare_products(products)


def test_a_lane_does_other_work_while_a_micro_batch_waits_for_others(bench):
    engine = PreparingEngine()
    made = bench(engine, batch_wait_s=1000.0)
    for deadline in (200.0, 201.0):
        made.submit("1", deadline=deadline)
        assert engine.prepared.acquire(timeout=60)


def test_what_fails_in_a_joint_micro_batch_fails_alone(bench):
    engine = GatedEngine()
    made = bench(engine, preparing=1)
    made.submit("0")
    engine.wait_until_entered()
    good, good_ended = made.submit("1")
    broken, broken_ended = made.submit("broken")
    while made.lanes.pairs.waiting < 2:
        pass
    engine.open()
    assert good_ended.wait(60)
    assert broken_ended.wait(60)
    assert good.results()[0].tolist() == [1.0]
    assert isinstance(broken.error, InternalError)
    assert made.backlog.seconds == 0


def test_lanes_that_prepare_are_alive_and_stopped_like_the_others(bench):
    made = bench(FakeEngine(), lanes=1, preparing=2)
    assert (made.lanes.count, made.lanes.alive(), made.lanes.usable()) == (3, 3, True)
    made.lanes.stop()
    assert (made.lanes.alive(), made.lanes.usable()) == (0, False)
    job, ended = made.submit("1")
    assert ended.wait(60)
    assert isinstance(job.error, DrainingError)

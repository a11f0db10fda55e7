"""The order of work."""

import math
import weakref

from hypothesis import given
from hypothesis import strategies as st

from service.errors import ClientGoneError
from service.job import Job
from service.work_queue import Unit, WorkQueue


def make_job(name, due=100.0, *, deadline=1000.0, background=False):
    job = Job(
        name,
        [{}],
        deadline=deadline,
        partial=False,
        request_id=name,
        submitted=0.0,
        on_finish=lambda: None,
        background=background,
    )
    job.due = due
    return job


def units_of(job, count, **options):
    return [Unit(job, lambda _: None, **options) for _ in range(count)]


class JointOfThree:
    def __init__(self, first):
        self.units = [first]

    @property
    def full(self):
        return len(self.units) == 3

    def add(self, other):
        if self.full or other.joint is None:
            return False
        self.units.append(other)
        return True


def order_of(queue):
    names = []
    while (unit := queue.pop()) is not None:
        names.append(unit.job.query)
    return names


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4)), max_size=12))
def test_the_job_that_is_due_first_goes_first_and_of_equals_the_one_that_came_first(jobs):
    queue = WorkQueue()
    for i, (due, count) in enumerate(jobs):
        queue.add(units_of(make_job(i, due), count))
    by_due = sorted(range(len(jobs)), key=lambda i: jobs[i][0])
    assert order_of(queue) == [i for i in by_due for _ in range(jobs[i][1])]
    assert len(queue) == 0


def test_a_job_that_comes_later_and_is_due_earlier_waits_for_one_unit_of_the_other_alone():
    queue = WorkQueue()
    queue.add(units_of(make_job("large", 500.0), 100))
    for _ in range(5):
        assert queue.pop().job.query == "large"
    queue.add(units_of(make_job("small", 200.0), 1))
    assert queue.pop().job.query == "small"


def test_units_of_one_job_run_by_rank_and_then_in_the_order_in_which_they_came():
    queue, job = WorkQueue(), make_job("a")
    later, first, second = units_of(job, 1, rank=32) + units_of(job, 2, rank=0)
    queue.add([later, first])
    queue.add([second])
    assert [queue.pop() for _ in range(3)] == [first, second, later]


def test_background_work_runs_when_no_other_waits_and_is_not_counted():
    queue = WorkQueue()
    queue.add(units_of(make_job("shadow", 0.0, background=True), 2) + units_of(make_job("real", 900.0), 2))
    assert len(queue) == 2
    assert order_of(queue) == ["real", "real", "shadow", "shadow"]


def test_work_whose_caller_left_or_whose_deadline_passed_is_dropped_before_it_runs():
    queue = WorkQueue()
    gone, late, here = make_job("gone"), make_job("late", deadline=50.0), make_job("here")
    queue.add(units_of(gone, 3) + units_of(late, 2) + units_of(here, 1))
    gone.end(ClientGoneError("left"))
    assert queue.drop_dead(50.0) == [(gone, 3), (late, 2)]
    assert order_of(queue) == ["here"]


def test_work_that_dies_behind_others_never_joins_them_and_is_dropped_before_its_turn_comes():
    queue = WorkQueue()
    dead, first = make_job("dead", 900.0), make_job("first", 1.0)
    queue.add(units_of(first, 2, joint=JointOfThree) + units_of(dead, 2, joint=JointOfThree))
    queue.add(units_of(make_job("second", 2.0), 10))
    dead.end(ClientGoneError("left"))
    assert [unit.job for unit in queue.pop_joining(queue.pop())] == [first, first]
    dropped = [queue.drop_dead(0.0) for _ in range(3)]
    assert [each for found in dropped for each in found] == [(dead, 2)]
    assert len(queue) == 10


class CountingJob(Job):
    looks = 0

    def is_dead(self, now):
        CountingJob.looks += 1
        return super().is_dead(now)


def test_what_taking_a_unit_costs_does_not_grow_with_the_jobs_that_wait():
    queue, jobs = WorkQueue(), 500
    for i in range(jobs):
        job = CountingJob(
            str(i), [{}], deadline=1e9, partial=False, request_id="r", submitted=0.0, on_finish=lambda: None
        )
        job.due = float(i)
        queue.add(units_of(job, 1))
    CountingJob.looks = 0
    for _ in range(jobs):
        queue.drop_dead(0.0)
        queue.pop()
    assert CountingJob.looks < 5 * jobs


def test_a_queue_that_is_empty_keeps_no_job():
    queue = WorkQueue()
    jobs = [make_job(str(i), float(i)) for i in range(3)]
    for job in jobs:
        queue.add(units_of(job, 1, joint=JointOfThree))
    assert len(queue.pop_joining(queue.pop())) == 3
    kept = [weakref.ref(job) for job in jobs]
    del jobs, job
    assert [each() for each in kept] == [None, None, None]


def test_units_join_the_one_that_was_taken_as_long_as_it_lets_them():
    queue = WorkQueue()

    alone = units_of(make_job("alone", 2.0), 1)
    queue.add(
        units_of(make_job("c", 4.0), 2, joint=JointOfThree)
        + units_of(make_job("b", 3.0), 1, joint=JointOfThree)
        + alone
    )
    queue.add(units_of(make_job("a", 1.0), 1, joint=JointOfThree))
    assert [unit.job.query for unit in queue.pop_joining(queue.pop())] == ["a", "b", "c"]
    assert queue.pop_joining(queue.pop()) == alone
    assert order_of(queue) == ["c"]


def joining(name, due, hold_until):
    return units_of(make_job(name, due), 1, joint=JointOfThree, hold_until=hold_until)


def test_a_lane_waits_for_more_to_join_no_longer_than_the_most_pressing_of_them_may():
    queue = WorkQueue()
    assert queue.hold_until(5.0) == 5.0
    queue.add(joining("a", 1.0, hold_until=9.0))
    assert queue.hold_until(5.0) == 9.0
    queue.add(joining("b", 2.0, hold_until=7.0))
    assert queue.hold_until(5.0) == 7.0
    assert queue.hold_until(7.5) <= 7.5


def test_a_lane_does_not_wait_once_what_may_run_together_is_full():
    queue = WorkQueue()
    for name in "abc":
        queue.add(joining(name, 1.0, hold_until=9.0))
    assert queue.hold_until(5.0) == 5.0


def test_a_lane_never_waits_for_work_that_runs_alone():
    queue = WorkQueue()
    queue.add(units_of(make_job("a"), 1))
    assert queue.hold_until(-math.inf) == -math.inf

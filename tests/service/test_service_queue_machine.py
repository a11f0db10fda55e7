"""The queue of work, whatever is added, ended, taken and joined in whatever order, against a plain list."""

from dataclasses import dataclass
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.errors import ClientGoneError
from service.work_queue import Unit, WorkQueue

from .test_service_work_queue import JointOfThree, make_job

RANKS = st.integers(0, 2)


@dataclass
class Added:
    """A unit as the model knows it: `entered` is when its job last began to wait, `serial` when it came itself."""

    unit: Unit
    serial: int


class QueueMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.queue, self.now = WorkQueue(), 0.0
        self.serial = count()
        self.jobs, self.waiting, self.entered = [], [], {}
        self.done = []

    def of(self, job):
        return [each for each in self.waiting if each.unit.job is job]

    def order(self, job):
        return job.background, job.due, self.entered[job]

    def live_first(self, jobs):
        return sorted(jobs, key=self.order)

    def next_of(self, job):
        return min(self.of(job), key=lambda each: (each.unit.rank, each.serial)).unit

    def waiting_jobs(self):
        return list(dict.fromkeys(each.unit.job for each in self.waiting))

    def took(self, unit):
        assert unit is self.next_of(unit.job), "out of its rank"
        self.waiting = [each for each in self.waiting if each.unit is not unit]
        self.done.append(unit)

    def add_to(self, job, units):
        self.queue.add(units)
        for unit in units:
            if not self.of(job):
                self.entered[job] = next(self.serial)
            self.waiting.append(Added(unit, next(self.serial)))

    @rule(
        due=st.integers(0, 30),
        lasts=st.integers(0, 40),
        background=st.booleans(),
        ranks=st.lists(RANKS, min_size=1, max_size=4),
        joins=st.booleans(),
        hold=st.integers(-5, 10),
    )
    def a_job_comes(self, due, lasts, background, ranks, joins, hold):
        deadline = self.now + lasts
        job = make_job(str(len(self.jobs)), min(self.now + due, deadline), deadline=deadline, background=background)
        self.jobs.append(job)
        joint = JointOfThree if joins else None
        until = self.now + hold
        self.add_to(job, [Unit(job, lambda _: None, rank=rank, joint=joint, hold_until=until) for rank in ranks])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), ranks=st.lists(RANKS, min_size=1, max_size=3))
    def more_comes_of_a_job(self, data, ranks):
        job = data.draw(st.sampled_from(self.jobs))
        self.add_to(job, [Unit(job, lambda _: None, rank=rank) for rank in ranks])

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def a_caller_leaves(self, data):
        data.draw(st.sampled_from(self.jobs)).end(ClientGoneError("left"))

    @rule(seconds=st.integers(1, 10))
    def time_passes(self, seconds):
        self.now += seconds

    def drop(self):
        for job, units in self.queue.drop_dead(self.now):
            assert job.is_dead(self.now)
            assert units == len(self.of(job)) > 0
            self.waiting = [each for each in self.waiting if each.unit.job is not job]

    @rule()
    def a_lane_takes_the_next_and_what_joins_it(self):
        self.drop()
        unit = self.queue.pop()
        if unit is None:
            assert not self.waiting
            return
        first = self.live_first(self.waiting_jobs())[0]
        assert unit.job is first, "another was due before"
        assert not first.is_dead(self.now)
        self.took(unit)
        joined = self.queue.pop_joining(unit)
        assert joined[0] is unit
        assert len(joined) <= (3 if unit.joint else 1)
        dues = [self.order(each.job) for each in joined[1:]]
        assert dues == sorted(dues)
        for each in joined[1:]:
            assert each.joint is not None
            assert not each.job.ended
            self.took(each)

    @rule()
    def a_lane_takes_what_need_not_wait(self):
        self.drop()
        unit = self.queue.pop_unheld(self.now)
        ready = [job for job in self.waiting_jobs() if self.next_of(job).hold_until <= self.now]
        assert (unit.job if unit else None) is (self.live_first(ready)[0] if ready else None)
        if unit:
            self.took(unit)

    @rule()
    def a_lane_asks_how_long_to_wait(self):
        until = self.queue.hold_until(self.now)
        assert self.now <= until
        if until > self.now:
            first = self.live_first(self.waiting_jobs())[0]
            assert until <= self.next_of(first).hold_until

    @rule()
    def lanes_look_as_often_as_jobs_wait(self):
        for _ in range(len(self.waiting_jobs()) + 1):
            self.drop()
        assert not any(job.is_dead(self.now) for job in self.waiting_jobs()), "the dead are kept"

    @invariant()
    def it_knows_how_many_wait(self):
        if hasattr(self, "queue"):
            assert len(self.queue) == sum(not each.unit.job.background for each in self.waiting)

    def teardown(self):
        if not hasattr(self, "queue"):
            return
        while (unit := self.queue.pop()) is not None:
            self.took(unit)
        assert not self.waiting, "a unit is lost"
        assert len(set(map(id, self.done))) == len(self.done), "a unit was taken twice"


TestQueue = QueueMachine.TestCase

"""The order of work, on a simulated clock."""

from hypothesis import given
from hypothesis import strategies as st

from service.errors import ClientGoneError
from service.job import Job
from service.work_queue import Unit, WorkQueue


def make_job(name, products, deadline):
    return Job(
        name, [{}] * products, deadline=deadline, partial=False, request_id=name, submitted=0.0, on_finish=lambda: None
    )


def units_of(job, count):
    return [Unit(job, lambda: None) for _ in range(count)]


class Simulation:
    """Runs units of one second each on one lane; a unit scores one product of its job."""

    def __init__(self):
        self.queue = WorkQueue()
        self.now = 0.0
        self.order = []

    def add(self, name, products, deadline):
        job = make_job(name, products, deadline)
        self.queue.add(units_of(job, products))
        return job

    def step(self):
        for job, _ in self.queue.drop_dead(self.now):
            job.end(TimeoutError())
        unit = self.queue.pop()
        if unit is not None:
            self.order.append(unit.job.query)
            unit.job.unscored -= 1
            self.now += 1.0
        return unit

    def run(self):
        while self.step() is not None:
            pass
        return self.order


def test_the_earliest_deadline_goes_first():
    simulation = Simulation()
    for name, deadline in (("b", 200.0), ("a", 100.0), ("c", 300.0)):
        simulation.add(name, 2, deadline)
    assert simulation.run() == ["a", "a", "b", "b", "c", "c"]


def test_a_small_request_waits_for_one_unit_of_a_large_one_with_an_earlier_deadline():
    simulation = Simulation()
    simulation.add("large", 100, deadline=1000.0)
    for _ in range(5):
        simulation.step()
    simulation.add("small", 1, deadline=2000.0)
    simulation.run()
    assert simulation.order[5:7] in (["small", "large"], ["large", "small"])


def test_a_large_request_keeps_every_second_unit_under_a_stream_of_small_ones():
    simulation = Simulation()
    simulation.add("large", 50, deadline=1000.0)
    for i in range(98):
        simulation.add("small", 1, deadline=2000.0 + i)
        simulation.step()
    assert simulation.order.count("large") >= 48


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 50), st.integers(0, 60)), min_size=1, max_size=12),
    st.integers(0, 60),
)
def test_no_request_is_held_back_by_larger_ones_for_more_than_one_unit_each_turn(requests, arrival):
    """A newcomer smaller than all others that wait gets at least every second unit from its arrival on."""
    simulation = Simulation()
    for i, (products, extra, _) in enumerate(requests):
        simulation.add(f"large-{i}", products + 10, deadline=10_000.0 + extra)
    for _ in range(arrival):
        simulation.step()
    waiting = len(simulation.queue)
    left = min((job.unscored for job in simulation.queue._waiting), default=11)
    simulation.order.clear()
    products = max(1, min(left - 1, 5))
    simulation.add("newcomer", products, deadline=20_000.0)
    if waiting and left > products:
        while "newcomer" not in simulation.order:
            simulation.step()
        assert simulation.order.index("newcomer") <= 1
    assert "newcomer" in simulation.run()


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 400)), min_size=1, max_size=20))
def test_every_unit_runs_once_or_is_dropped_at_its_deadline(requests):
    simulation = Simulation()
    jobs = [simulation.add(str(i), products, float(deadline)) for i, (products, deadline) in enumerate(requests)]
    simulation.run()
    for i, (job, (products, deadline)) in enumerate(zip(jobs, requests, strict=True)):
        ran = simulation.order.count(str(i))
        assert ran == products or (job.ended and simulation.now >= deadline)
    assert len(simulation.queue) == 0


@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 100)), min_size=1, max_size=10))
def test_with_requests_of_one_size_the_order_is_that_of_the_deadlines(requests):
    simulation = Simulation()
    for i, (_, deadline) in enumerate(requests):
        simulation.add(str(i), 1, 1000.0 + deadline)
    by_deadline = sorted(range(len(requests)), key=lambda i: requests[i][1])
    assert simulation.run() == [str(i) for i in by_deadline]


def test_work_whose_caller_left_is_dropped_before_it_runs():
    queue = WorkQueue()
    gone, here = make_job("gone", 3, 100.0), make_job("here", 1, 200.0)
    queue.add(units_of(gone, 3) + units_of(here, 1))
    gone.end(ClientGoneError("left"))
    assert queue.drop_dead(0.0) == [(gone, 3)]
    assert queue.pop().job is here
    assert queue.pop() is None


def test_units_of_one_request_keep_their_order():
    queue = WorkQueue()
    units = units_of(make_job("a", 5, 100.0), 5)
    queue.add(units[:2])
    queue.add(units[2:])
    assert [queue.pop() for _ in range(5)] == units

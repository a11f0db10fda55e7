"""What is refused before its body is parsed."""

import random

import pytest

from service.backlog import Backlog
from service.early_refusal import (
    MOST_TIMES,
    READ_EVERY_S,
    READ_IN_VAIN,
    STRICT_FOR_S,
    WINDOW,
    Caution,
    EarlyRefusal,
    LeastCost,
)
from service.errors import DeadlineExceededError, OverloadedError, PredictedLateError
from service.job import Job

from .serving import GatedEngine, loader_of
from .simulation import Simulation
from .test_service_errors import JSON, is_problem

SECONDS = 4


def job_of(lane_s, deadline=0.2):
    job = Job("", (), deadline=deadline, partial=False, request_id="", submitted=0.0, on_finish=lambda: None)
    job.expect(lane_s)
    return job


class Half:
    """Admits what takes half a second, or less."""

    def admit(self, job, now, queued):  # noqa: ARG002
        if job.first_s > 0.5:
            raise PredictedLateError("too long", retry_after_s=1)


class Times:
    now = 0.0


class Never(random.Random):
    """Has nothing read anyway."""

    def randrange(self, *_):
        return 1


@pytest.fixture
def early():
    return EarlyRefusal(Backlog(Half(), lambda *_: None), lambda: Times.now, Never())


@pytest.fixture(autouse=True)
def start():
    Times.now = 0.0


def test_the_cheapest_request_of_the_last_few_hundred_counts():
    least = LeastCost()
    assert least.per_byte_s == 0.0
    least.observe(1.0, 100)
    least.observe(5.0, 1000)
    least.observe(3.0, 100)
    assert least.per_byte_s == 0.005
    for _ in range(2 * WINDOW):
        least.observe(2.0, 100)
    assert least.per_byte_s == 0.02


def test_requests_are_taken_for_dearer_until_few_are_read_in_vain():
    """Each costs up to twice the cheapest."""
    caution, source = Caution(), random.Random(1)
    in_vain = []
    for _ in range(20_000):
        cost, room = source.uniform(1.0, 2.0), source.uniform(0.0, 2.5)
        if caution.times <= room:
            in_vain.append(cost > room)
            caution.observe(in_vain=in_vain[-1])
    assert sum(in_vain) / len(in_vain) == pytest.approx(READ_IN_VAIN, abs=0.02)
    for _ in range(100):
        caution.observe(in_vain=True)
    assert caution.times == MOST_TIMES
    for _ in range(1000):
        caution.observe(in_vain=False)
    assert caution.times == 1.0


def test_what_is_read_anyway_or_while_nothing_is_refused_teaches_no_caution(early):
    early.ended(100, job_of(0.1))
    early.refused()
    for _ in range(100):
        early.refused(foreseeable=False)
    early.check(499, 1.0)
    early.refused()
    with pytest.raises(OverloadedError):
        early.check(499, 1.0)


def test_a_body_is_refused_by_its_length_once_another_was_refused(early):
    early.ended(100, job_of(0.1))
    early.check(10_000, 1.0)
    early.refused()
    early.check(499, 1.0)
    with pytest.raises(OverloadedError):
        early.check(501, 1.0)


def test_those_that_were_let_in_together_count_for_each_other_until_their_turn(early):
    """Else all the heads of one moment would find the same room, and be read for nothing."""
    early.ended(100, job_of(0.1))
    early.refused()
    first, second = early.let_in(200, 1.0), early.let_in(200, 1.0)
    with pytest.raises(OverloadedError):
        early.let_in(200, 1.0)
    early.its_turn(first)
    third = early.let_in(200, 1.0)
    for each in (second, third):
        early.its_turn(each)
    early.let_in(499, 1.0)


def test_of_those_that_would_be_refused_few_are_read_anyway_however_many_there_are():
    early = EarlyRefusal(Backlog(Half(), lambda *_: None), lambda: Times.now, random.Random(1))
    early.ended(100, job_of(0.1))
    read = 0
    for number in range(10_000):
        Times.now = number / 10_000
        early.refused()
        try:
            read += early.let_in(95_000, 60.0).anyway
        except OverloadedError:
            continue
    assert 0 < read <= 1 + 1 / READ_EVERY_S


def test_nothing_is_refused_before_costs_are_known_nor_long_after_a_refusal(early):
    early.refused()
    early.check(10_000, 1.0)
    early.ended(100, job_of(0.1))
    Times.now = STRICT_FOR_S + 0.01
    early.check(10_000, 5.0)


def test_while_some_requests_cost_nothing_none_is_refused_early(early):
    early.ended(100, job_of(0.1))
    early.ended(100, job_of(0.0))
    early.refused()
    early.check(10_000, 1.0)


def test_what_has_no_time_left_is_told_so_by_its_deadline(early):
    early.ended(100, job_of(0.1))
    early.refused()
    Times.now = 0.5
    early.check(10_000, 0.4)


def test_a_service_that_refuses_does_not_parse_what_it_will_refuse(serve, monkeypatch):
    monkeypatch.setattr("service.early_refusal.READ_ANYWAY", 10**12)
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1, max_backlog_ms=1)
    body = {"query": "usb", "products": [{"title": "1"}] * 100}
    engine.open()
    assert service.client.post("/score", json=body).status_code == 200
    engine.close()
    with service.sending("/score", json=body) as first:
        engine.wait_until_entered()
        not_json = b"{" * 100_000
        assert service.client.post("/score", content=not_json, headers=JSON).status_code == 400
        is_problem(service.client.post("/score", json=body), 503)
        answer = service.client.post("/score", content=not_json, headers=JSON)
        is_problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
        assert service.metric("score_requests_total", outcome="shed", reason="backlog_full") == 2
        engine.open()
        assert first.result(60).status_code == 200
    # With nothing in work, everything is read.
    assert service.client.post("/score", content=not_json, headers=JSON).status_code == 400


def test_what_could_be_foreseen_and_what_was_admitted_teaches_caution_and_nothing_else(serve, monkeypatch):
    seen, anyway = [], [False]
    monkeypatch.setattr("service.early_refusal.Caution.observe", lambda _, *, in_vain: seen.append(in_vain))
    monkeypatch.setattr("service.early_refusal.EarlyRefusal._is_anyway", lambda *_: anyway[0])
    monkeypatch.setattr("service.early_refusal.STRICT_FOR_S", 600.0)
    engine = GatedEngine()
    service = serve(load=loader_of(engine), lanes=1, max_backlog_ms=1)
    body = {"query": "usb", "products": [{"title": "1"}] * 100}
    with service.sending("/score", json=body) as first:
        engine.wait_until_entered()

        def refused(**other):
            is_problem(service.client.post("/score", json=body | other, headers={"x-request-timeout-ms": "900"}), 503)

        refused()
        assert seen == []
        refused()
        refused(timeout_ms=950)
        assert seen == [True, True]
        # Its deadline was not to be seen from its head, and this one is read although there is no room.
        refused(timeout_ms=800)
        anyway[0] = True
        refused()
        assert seen == [True, True]
        engine.open()
        assert first.result(60).status_code == 200
    assert service.client.post("/score", json=body).status_code == 200
    assert seen == [True, True, False]


def refused_early(simulation, seed):
    """Offers ten times the capacity of mixed requests, each first looked at early. Returns (how many were refused
    early, how many of them would have been admitted whole)."""
    early, choose, verdicts = early_of(simulation, seed), random.Random(seed), []

    def arrive(products, timeout_s, body_bytes):
        deadline = simulation.clock.now + timeout_s
        try:
            early.check(body_bytes, deadline)
        except OverloadedError:
            verdicts.append(would_enter(simulation, products, deadline))
            return
        job = simulation.submit(products, timeout_s)
        if job is None:
            early.refused()
        else:
            early.admitted()
            early.ended(body_bytes, job)

    at = 0.0
    while at < SECONDS:
        products = choose.choice([1, 10, 64, 200])
        body_bytes = 40 + products * choose.randint(40, 60)
        request = (products, choose.choice([0.1, 0.4]), body_bytes)
        simulation.at(at, lambda request=request: arrive(*request))
        at += products / (10 * simulation.capacity)
    simulation.run(SECONDS + 1)
    return len(verdicts), sum(verdicts)


def early_of(simulation, seed):
    return EarlyRefusal(simulation.backlog, simulation.clock, random.Random(seed))


def test_what_is_cheaper_than_all_that_was_admitted_lately_is_read_now_and_then_and_then_known():
    """A caller sends bodies that are long for their few products."""
    early = EarlyRefusal(Backlog(Half(), lambda *_: None), lambda: Times.now, random.Random(1))
    early.ended(100, job_of(0.1))
    early.refused()
    read = []
    for _ in range(200):
        try:
            early.check(95_000, 1.0)
        except OverloadedError:
            read.append(False)
        else:
            read.append(True)
            early.ended(95_000, job_of(0.1))
    first = read.index(True)
    assert 0 < first < 100
    assert all(read[first:])


def test_early_refusals_do_not_prolong_themselves(early):
    early.ended(100, job_of(0.1))
    early.refused()
    Times.now = 0.9 * STRICT_FOR_S
    with pytest.raises(OverloadedError):
        early.check(10_000, 5.0)
    Times.now = 1.1 * STRICT_FOR_S
    early.check(10_000, 5.0)


def test_a_request_that_came_too_late_says_nothing_of_costs(early):
    late = job_of(0.0)
    late.end(DeadlineExceededError("late"))
    early.ended(100, job_of(0.1))
    early.ended(100, late)
    early.refused()
    with pytest.raises(OverloadedError):
        early.check(10_000, 1.0)


def would_enter(simulation, products, deadline):
    now = simulation.clock.now
    job = Job("", (), deadline=deadline, partial=False, request_id="", submitted=now, on_finish=lambda: None)
    job.expect(simulation.cost.request_s(products, 8.0, 32))
    try:
        simulation.backlog.check(job, now)
    except OverloadedError:
        return False
    return True


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_under_overload_most_is_refused_early_and_hardly_any_of_it_would_have_been_admitted(seed):
    simulation = Simulation()
    early, wrongly = refused_early(simulation, seed)
    assert early > 0.5 * len(simulation.refused)
    assert wrongly <= 0.01 * early
    products = sum(len(job.products) for job in simulation.in_time(1.0, SECONDS))
    assert products / (SECONDS - 1) / simulation.capacity > 0.9

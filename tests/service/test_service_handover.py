"""The queue between the event loop and the threads that observe."""

import threading

from service.handover import Handover


def test_what_is_offered_is_worked_off_in_order_and_all_at_once():
    seen = []
    handover = Handover(seen.append, 10, "test")
    assert all(handover.offer(i) for i in range(3))
    handover.work_off()
    handover.work_off()
    assert seen == [[0, 1, 2], []]


def test_what_does_not_fit_is_refused_until_there_is_room():
    seen = []
    handover = Handover(seen.append, 10, "test")
    assert handover.offer("a", 6)
    assert not handover.offer("b", 5)
    assert handover.offer("c", 4)
    handover.work_off()
    assert handover.offer("d", 10)
    handover.work_off()
    assert seen == [["a", "c"], ["d"]]


def test_work_that_fails_is_told_and_the_next_goes_on(caplog):
    seen = []

    def work(items):
        seen.append(items)
        if items == [1]:
            raise RuntimeError("broken")

    handover = Handover(work, 10, "test")
    handover.offer(1)
    handover.work_off()
    handover.offer(2)
    handover.work_off()
    assert seen == [[1], [2]]
    assert "what was noted of 1 requests is lost" in caplog.text


def test_the_thread_looks_by_itself_and_works_off_the_rest_when_stopped():
    seen, looked = [], threading.Event()

    def work(items):
        seen.extend(items)
        if items:
            looked.set()

    handover = Handover(work, 10, "test", period_s=0.001)
    handover.start()
    handover.offer(1)
    assert looked.wait(60)
    handover.offer(2)
    assert handover.stop(60)
    assert seen == [1, 2]
    assert not handover.offer(3)


def test_stopping_waits_no_longer_than_it_is_told_for_work_that_hangs():
    entered, hang = threading.Event(), threading.Event()

    def work(_):
        entered.set()
        hang.wait(60)

    handover = Handover(work, 10, "test", period_s=0.001)
    handover.start()
    assert entered.wait(60)
    assert not handover.stop(0.0)
    hang.set()
    assert handover.stop(60)


def test_one_that_never_started_is_stopped_at_once():
    assert Handover(list, 10, "test").stop()

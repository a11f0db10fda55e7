from concurrent.futures import ThreadPoolExecutor

from service.tally import ADD_UP_AT, Tally


def test_nothing_is_lost_or_counted_twice_whoever_adds_and_whoever_looks():
    tally = Tally(2)

    def work(number):
        for each in range(3 * ADD_UP_AT + number):
            tally.add((1, each))
            if each % 100 == 0:
                tally.sums()
        return 3 * ADD_UP_AT + number

    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(work, range(8)))
    assert tally.sums() == [sum(rows), sum(n * (n - 1) // 2 for n in rows)]

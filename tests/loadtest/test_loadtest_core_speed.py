"""How fast the cores are, by work whose times the test decides."""

import pytest

from loadtest.core_speed import CoreSpeed, work


def cores_that_take(*seconds):
    """One reading a second, from 0 on."""
    times = iter([edge for taken_s in seconds for edge in (0.0, taken_s)])
    cores = CoreSpeed(work=lambda: None, cpu_clock=lambda: next(times))
    for second in range(len(seconds)):
        cores.tick(float(second))
    return cores


def test_a_stretch_is_compared_with_the_fastest_moments_of_the_whole_run():
    cores = cores_that_take(*[0.001] * 10, *[0.002] * 5, *[0.001] * 5)
    assert cores.slowness(0, 9) == pytest.approx(1.0)
    assert cores.slowness(10, 14) == pytest.approx(2.0)
    assert cores.slowness(5, 14) == pytest.approx(1.5)


def test_one_absurdly_short_reading_is_not_what_all_others_are_compared_with():
    assert cores_that_take(*[0.001] * 40, 0.0001).slowness(0, 39) == pytest.approx(1.0)


def test_a_stretch_without_readings_has_no_speed():
    assert cores_that_take(0.001, 0.001).slowness(5, 6) is None
    assert CoreSpeed().slowness(0, 1) is None


def test_the_line_says_how_long_the_same_work_took():
    line = cores_that_take(*[0.001] * 16, *[0.002] * 4).line()
    assert "1.20 times as long as at its fastest (half of the time up to 1.00, a tenth of it 2.00 and more)" in line
    assert CoreSpeed().line() == "speed of the cores: unknown"


def test_the_work_takes_cpu_time():
    cores = CoreSpeed()
    cores.tick(0.0)
    assert cores.readings[0][1] > 0
    assert work() is None

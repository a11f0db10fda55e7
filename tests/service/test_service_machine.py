import os
import threading

import pytest

from service.machine import (
    alone_in_cgroup,
    available_cores,
    let_others_first,
    memory_limit_bytes,
    process_age_s,
    stay_on_core,
)


@pytest.fixture
def given(tmp_path):
    """Lays out cgroup files: `given({"cgroup": "0::/a", ...})`; other paths are under the cgroup mount."""

    def write(lines, **files):
        (tmp_path / "cgroup").write_text(lines)
        for path, text in files.items():
            file = tmp_path / "fs" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    write.cores = lambda affinity: available_cores(tmp_path / "fs", tmp_path, affinity)
    return write


def test_without_a_quota_it_is_the_affinity(given):
    given("0::/\n", **{"cpu.max": "max 100000\n"})
    assert given.cores(4) == 4


@pytest.mark.parametrize(("quota", "cores"), [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1)])
def test_a_quota_of_version_2_is_rounded_down_to_at_least_one(given, quota, cores):
    given("0::/\n", **{"cpu.max": quota})
    assert given.cores(8) == cores


def test_the_smallest_quota_on_the_way_up_counts(given):
    given("0::/pod/box\n", **{"pod/cpu.max": "200000 100000", "pod/box/cpu.max": "max 100000"})
    assert given.cores(8) == 2


def test_a_quota_of_version_1_counts(given):
    given(
        "5:memory:/\n4:cpu,cpuacct:/docker/abc\n",
        **{"cpu,cpuacct/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
    )
    assert given.cores(8) == 3


def test_no_quota_of_version_1_is_written_minus_one(given):
    given("1:cpu:/\n", **{"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"})
    assert given.cores(8) == 8


def test_affinity_below_the_quota_counts(given):
    given("0::/\n", **{"cpu.max": "400000 100000"})
    assert given.cores(2) == 2


def test_files_that_make_no_sense_are_passed_over(given):
    given("0::/\n", **{"cpu.max": "plenty"})
    assert given.cores(8) == 8


def test_without_cgroups_it_is_the_affinity(tmp_path):
    assert available_cores(tmp_path, tmp_path, 5) == 5
    assert available_cores() >= 1


def test_the_process_has_an_age(tmp_path):
    assert process_age_s() > 0
    assert process_age_s(tmp_path) is None


@pytest.mark.parametrize(
    ("lines", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/pod/box\n", {"pod/memory.max": "900000\n", "pod/box/memory.max": "1000000\n"}, 900_000),
        ("5:memory:/docker/abc\n", {"memory/memory.limit_in_bytes": "500000\n"}, 500_000),
        ("5:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("5:cpu:/\n", {"memory/memory.limit_in_bytes": "500000\n"}, None),
        ("0::/\n", {"memory.max": "plenty"}, None),
    ],
)
def test_the_smallest_memory_limit_of_either_version_counts(given, tmp_path, lines, files, limit):
    given(lines, **files)
    assert memory_limit_bytes(tmp_path / "fs", tmp_path) == limit


@pytest.mark.parametrize(
    ("lines", "path", "others", "alone"),
    [
        ("0::/\n", "cgroup.procs", "", True),
        ("0::/\n", "cgroup.procs", "1\n", False),
        ("0::/pod\n", "pod/cgroup.procs", "", True),
        ("4:cpu,cpuacct:/box\n", "cpu,cpuacct/box/cgroup.procs", "7\n8\n", False),
    ],
)
def test_a_process_is_alone_where_its_own_cgroup_lists_no_other(given, tmp_path, lines, path, others, alone):
    given(lines, **{path: f"{os.getpid()}\n{others}"})
    assert alone_in_cgroup(tmp_path / "fs", tmp_path) is alone


def test_without_cgroups_nobody_is_known_to_be_alone(tmp_path):
    assert not alone_in_cgroup(tmp_path, tmp_path)


def test_a_thread_stays_on_the_core_of_its_number_and_others_stay_free():
    free = os.sched_getaffinity(0)
    found = []

    def work(number):
        stay_on_core(number)
        found.append(os.sched_getaffinity(threading.get_native_id()))

    for number in range(len(free) + 1):
        thread = threading.Thread(target=work, args=(number,))
        thread.start()
        thread.join()
    assert found == [{core} for core in [*sorted(free), min(free)]]
    assert os.sched_getaffinity(threading.get_native_id()) == free


def test_a_thread_that_lets_others_first_is_scheduled_so_and_no_other_is():
    found = []

    def work():
        let_others_first()
        found.append(os.sched_getscheduler(threading.get_native_id()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [os.SCHED_IDLE]
    assert os.sched_getscheduler(threading.get_native_id()) == os.SCHED_OTHER

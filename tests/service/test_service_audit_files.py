"""The audit files: whole lines, a bounded size, and no quarrel between replicas."""

import errno
import gzip
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audit.files import FILES_OF_BOUND, MAX_AGE_S, AuditFiles, whole_bytes

ROOT = Path(__file__).parents[2]
BOUND = 64 * 1024


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wall(self):
        # Each file a name of its own in order, however fast they are made.
        self.now += 0.001
        return 1_800_000_000 + self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make(tmp_path, clock):
    return lambda bound=BOUND: AuditFiles(tmp_path, bound, clock, clock.wall)


def finished(folder):
    return sorted(folder.glob("audit-*.jsonl.gz"))


def parts(folder):
    return sorted(folder.glob("*.part"))


def text(path):
    return gzip.decompress(path.read_bytes()).decode()


def noise(lines, seed=0):
    """Lines that gzip makes little of."""
    return b"".join(b"%d %s\n" % (seed * 1000 + i, os.urandom(300).hex().encode()) for i in range(lines))


def test_lines_are_in_a_file_once_it_is_finished_and_not_before(make, tmp_path):
    files = make()
    files.write(b"one\ntwo\n")
    files.write(b"three\n")
    assert not finished(tmp_path)
    files.finish()
    (path,) = finished(tmp_path)
    assert text(path) == "one\ntwo\nthree\n"
    assert not parts(tmp_path)
    files.finish()
    files.write(b"four\n")
    files.finish()
    assert [text(each) for each in finished(tmp_path)] == ["one\ntwo\nthree\n", "four\n"]


def test_a_file_is_finished_when_it_is_large_or_old(make, tmp_path, clock):
    files = make()
    files.write(noise(20))
    assert len(finished(tmp_path)) == 1, "large"
    files.write(b"a\n")
    files.finish_if_due()
    assert len(finished(tmp_path)) == 1
    clock.now += MAX_AGE_S
    files.finish_if_due()
    assert len(finished(tmp_path)) == 2
    files.finish_if_due()
    assert len(finished(tmp_path)) == 2


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60))
def test_the_files_never_take_more_than_their_bound_and_the_oldest_go_first(tmp_path_factory, sizes):
    folder, clock = tmp_path_factory.mktemp("audit"), Clock()
    files = AuditFiles(folder, BOUND, clock, clock.wall)
    for number, lines in enumerate(sizes):
        files.write(noise(lines, number))
        assert sum(each.stat().st_size for each in folder.iterdir()) <= BOUND
    files.finish()
    kept = [int(line.split()[0]) // 1000 for path in finished(folder) for line in text(path).splitlines()]
    assert sorted(set(kept)) == list(range(len(sizes) - len(set(kept)), len(sizes))), "without a gap up to the last"
    assert [kept.count(each) for each in sorted(set(kept))] == sizes[len(sizes) - len(set(kept)) :]


def test_a_block_beyond_the_bound_is_refused_and_the_next_goes_on(make, tmp_path):
    files = make()
    with pytest.raises(OSError, match="no room within audit_bytes"):
        files.write(noise(500))
    files.write(b"small\n")
    files.finish()
    assert [text(each) for each in finished(tmp_path)] == ["small\n"]


def test_two_replicas_in_one_folder_keep_to_one_bound_and_to_their_own_files(make, tmp_path):
    one, two = make(), make()
    for number in range(40):
        one.write(noise(3, number))
        two.write(noise(3, 1000 + number))
        assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= BOUND
    one.finish()
    two.finish()
    found = [{int(line.split()[0]) >= 1_000_000 for line in text(path).splitlines()} for path in finished(tmp_path)]
    assert all(len(whose) == 1 for whose in found)
    assert len(found) > FILES_OF_BOUND // 2


def test_a_file_that_another_replica_removed_or_left_does_not_break_this_one(make, tmp_path):
    one = make()
    one.write(b"one\n")
    parts(tmp_path)[0].unlink()
    with pytest.raises(FileNotFoundError):
        one.finish()
    one.write(b"two\n")
    one.finish()
    assert [text(each) for each in finished(tmp_path)] == ["two\n"]


KILLED = """
import os, sys, time
from pathlib import Path
from service.audit.files import AuditFiles
files = AuditFiles(Path(sys.argv[1]), 1 << 20, time.monotonic)
files.write(b"one\\n")
files.write(b"two\\n")
os.write(files._descriptor, b"\\x1f\\x8b\\x08\\x00half a block")
os._exit(9)
"""


def test_what_a_killed_replica_left_is_finished_up_to_its_last_whole_block(make, tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, timeout=60, check=False)
    (left,) = parts(tmp_path)
    files = make()
    files.write(b"three\n")
    assert not left.exists()
    files.finish()
    assert [text(each) for each in finished(tmp_path)] == ["one\ntwo\n", "three\n"]


def test_what_a_killed_replica_left_makes_room_even_where_it_fills_the_folder(make, tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, timeout=60, check=False)
    (left,) = parts(tmp_path)
    files = make(bound=left.stat().st_size)
    files.write(b"three\n")
    files.finish()
    assert [text(each) for each in finished(tmp_path)] == ["three\n"]


def test_more_replicas_than_files_have_room_do_not_block_each_other(make, tmp_path):
    writers, refused = [make() for _ in range(2 * FILES_OF_BOUND)], 0
    for number in range(40):
        for writer in writers:
            try:
                writer.write(noise(2, number))
            except OSError:
                refused += 1
    # One that has no file yet waits until another finishes its own.
    assert refused < 40 * len(writers) / 10
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= BOUND


def test_where_files_cannot_be_locked_none_is_left_behind(make, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("service.audit.files.fcntl.flock", no_locks)
    with pytest.raises(OSError, match="no locks"):
        make().write(b"one\n")
    assert not list(tmp_path.iterdir())


def test_the_file_of_a_replica_that_lives_is_left_alone(make, tmp_path):
    one, two = make(), make()
    one.write(b"one\n")
    two.write(b"two\n")
    assert len(parts(tmp_path)) == 2
    one.write(b"more\n")
    one.finish()
    two.finish()
    assert sorted(text(each) for each in finished(tmp_path)) == ["one\nmore\n", "two\n"]


def test_an_empty_file_of_a_killed_replica_is_removed(make, tmp_path):
    (tmp_path / "audit-20260101T000000.000000Z-aaaaaaaaaaaa.jsonl.gz.part").touch()
    files = make()
    files.write(b"one\n")
    files.finish()
    assert [path.name.endswith(".part") for path in tmp_path.iterdir()] == [False]


def test_other_files_of_the_folder_are_not_touched_and_do_not_count(make, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_bytes(b"x" * 2 * BOUND)
    files = make()
    files.write(b"one\n")
    files.finish()
    assert other.stat().st_size == 2 * BOUND


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.data())
def test_the_whole_part_of_a_file_ends_with_its_last_whole_block(tmp_path_factory, blocks, data):
    members = [gzip.compress(block) for block in blocks]
    content = b"".join(members)
    cut = data.draw(st.integers(0, len(content)))
    ends = [sum(map(len, members[:i])) for i in range(len(members) + 1)]
    path = tmp_path_factory.mktemp("cut") / "file"
    path.write_bytes(content[:cut])
    with path.open("rb") as file:
        assert whole_bytes(file.fileno()) == max(end for end in ends if end <= cut)


@pytest.fixture
def full_disk():
    """No file of this process may grow beyond so many bytes: writes come through in part, then not at all."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_costs_whole_blocks_and_leaves_no_half_line(make, tmp_path, full_disk):
    files = make(1 << 20)
    files.write(b"one\n")
    full_disk(500)
    for _ in range(3):
        with pytest.raises(OSError, match="File too large") as raised:
            files.write(noise(5))
        assert raised.value.errno == errno.EFBIG
    assert parts(tmp_path)[0].stat().st_size < 100
    full_disk(1 << 20)
    files.write(b"two\n")
    files.finish()
    assert [text(each) for each in finished(tmp_path)] == ["one\ntwo\n"]

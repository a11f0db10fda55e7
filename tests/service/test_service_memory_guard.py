import logging
import mmap

import pytest

from service.machine import resident_bytes
from service.memory_guard import MemoryGuard


class Process:
    """Takes some memory, of which emptying its caches frees a part."""

    def __init__(self, resident, freed=0):
        self.resident = resident
        self.freed = freed
        self.events = []
        self.guard = MemoryGuard(
            1000,
            relieve=self.relieve,
            give_up=lambda: self.events.append("gave up"),
            resident=lambda: self.resident,
        )

    def relieve(self):
        self.events.append("relieved")
        self.resident -= self.freed


@pytest.mark.parametrize("resident", [0, 949, 950])
def test_below_its_share_of_the_limit_nothing_is_done(resident):
    process = Process(resident)
    process.guard.check()
    assert process.events == []


def test_caches_are_emptied_first_and_that_may_be_enough(caplog):
    process = Process(980, freed=100)
    process.guard.check()
    process.guard.check()
    assert process.events == ["relieved"]
    assert "caches were emptied" in caplog.text


def test_it_gives_up_once_where_emptying_the_caches_is_not_enough(caplog):
    process = Process(999, freed=10)
    for _ in range(3):
        process.guard.check()
    assert process.events == ["relieved", "gave up"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_the_memory_of_this_process_is_read():
    before = resident_bytes()
    block = bytearray(64 * 1024 * 1024)
    block[::4096] = b"x" * len(block[::4096])
    assert resident_bytes() - before > 32 * 1024 * 1024


def test_pages_of_mapped_files_are_not_this_process_s_own(tmp_path):
    path = tmp_path / "states"
    path.write_bytes(b"x" * (64 * 1024 * 1024))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = resident_bytes()
        assert mapped[::4096].count(b"x") == len(mapped) // 4096
        assert resident_bytes() - before < 16 * 1024 * 1024

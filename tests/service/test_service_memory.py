"""Memory that is free goes back to the system."""

import ctypes
import gc
import subprocess
import sys

import pytest

from service.memory import settle_memory

PUNCTURED = """
import gc

import numpy as np
import psutil

from service.memory import settle_memory

process = psutil.Process()
blocks = [np.ones(40_000, dtype=np.uint8) for _ in range(3000)]
filled = process.memory_info().rss
kept = blocks[::10]
del blocks
gc.collect()
left = filled - process.memory_info().rss
settle_memory()
print(left, filled - process.memory_info().rss, len(kept))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library has no malloc_trim")
def test_free_memory_between_blocks_in_use_goes_back_to_the_system():
    # In a process of its own: others before it may have told the allocator to keep nothing.
    done = subprocess.run([sys.executable, "-c", PUNCTURED], capture_output=True, text=True, check=True)
    left, settled, _ = map(int, done.stdout.split())
    assert left < 30e6
    assert settled > 80e6


@pytest.mark.usefixtures("_process_as_it_was")
def test_only_the_first_time_freezes():
    gc.unfreeze()
    settle_memory()
    frozen = gc.get_freeze_count()
    assert frozen > 10_000
    later = [[] for _ in range(1000)]
    settle_memory()
    assert gc.get_freeze_count() <= frozen
    assert later

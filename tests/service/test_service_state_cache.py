"""The memory for product states: bounded, and its estimate is what is really taken."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from artifact.product_states import ProductState
from service.state_cache import StateCache, entry_bytes

ROOT = Path(__file__).parents[2]


def state(tokens, width, dtype=np.uint8):
    """As an encoder's batch gives it: of its own memory."""
    batch = np.ones((tokens + 2, width), dtype)
    return ProductState(batch[1:-1].copy(), np.ones(tokens + 2, np.float32)[1:-1].copy(), batch[0].copy(), 0.5 + tokens)


def key(number):
    return (
        f"a title of about as many characters as titles have, {number:09d}",
        f"brand {number}",
        None,
        f"color {number}",
    )


MEASURE = """
import sys
sys.path.insert(0, {root!r})
from service.machine import resident_bytes
from service.state_cache import StateCache
from tests.service.test_service_state_cache import key, state

cache, products = StateCache(10**9), {products}
for number in range(1000):
    cache.keep([key(number)], [state({tokens}, {width})])
resident, estimated = resident_bytes(), cache.bytes_used
for number in range(1000, 1000 + products):
    cache.keep([key(number)], [state({tokens}, {width})])
print((cache.bytes_used - estimated) / (resident_bytes() - resident))
"""


@pytest.mark.parametrize(("tokens", "width", "products"), [(30, 384, 4000), (30, 128, 8000), (12, 192, 12_000)])
def test_the_estimate_is_what_the_entries_take_in_a_process_to_five_per_cent(tokens, width, products):
    program = MEASURE.format(root=str(ROOT), tokens=tokens, width=width, products=products)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(1, abs=0.05)


def test_a_scan_of_many_distinct_products_stays_within_the_bound_and_leaves_the_last_ones():
    bound = 1_000_000
    cache = StateCache(bound)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            cache.keep([key(number)], [state(12, 64)])
            assert cache.bytes_used <= bound
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < bound * 1.03
    assert len(cache) > 0.98 * bound / entry_bytes(key(0), state(12, 64))
    assert cache.get_many([key(0), key(19_999)])[0] is None
    assert cache.get_many([key(0), key(19_999)])[1] is not None


def test_the_first_state_stored_under_a_key_is_the_one_to_use():
    cache = StateCache(1_000_000)
    first, second = state(3, 8), state(3, 8)
    assert cache.keep([key(0), key(1)], [first, second]) == [first, second]
    kept = cache.keep([key(0)], [second])
    assert kept[0] is first
    cache.clear()
    assert cache.keep([key(0)], [second])[0] is second


def test_a_state_that_is_too_large_to_be_kept_is_used_all_the_same():
    cache = StateCache(10_000)
    large = state(30, 384)
    assert cache.keep([key(0)], [large])[0] is large
    assert len(cache) == 0

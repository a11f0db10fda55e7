import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.lru import ENTRY_BYTES
from service.token_cache import TokenCache

KEYS = st.tuples(st.text(max_size=5), st.none() | st.text(max_size=3))


def ids(*values):
    return np.array(values, dtype=np.int64)


@given(st.lists(st.lists(KEYS, max_size=20), max_size=20), st.integers(0, 60_000))
def test_it_stays_within_its_bytes_and_returns_what_was_put(batches, max_bytes):
    cache = TokenCache(max_bytes)
    for keys in batches:
        cache.put_many(keys, [ids(len(key[0]), 7) for key in keys])
        assert cache.bytes_used <= max_bytes
        assert cache.bytes_used >= len(cache) * ENTRY_BYTES
        for key, found in zip(keys, cache.get_many(keys), strict=True):
            assert found is None or found.tolist() == [len(key[0]), 7]


def test_the_least_recently_used_goes_first():
    cache = TokenCache(35_000)
    cache.put_many([("0",)], [ids(0)])
    i = 0
    while len(cache) > i:
        i += 1
        cache.get_many([("0",)])
        cache.put_many([(str(i),)], [ids(i)])
    assert cache.get_many([("0",), ("1",)])[0] is not None
    assert cache.get_many([("0",), ("1",)])[1] is None


def test_an_absurd_product_is_not_kept():
    cache = TokenCache(100_000)
    cache.put_many([("usb",), ("x" * 2000,)], [ids(1), ids(2)])
    assert len(cache) == 1


def test_putting_twice_counts_once():
    cache = TokenCache(100_000)
    cache.put_many([("usb",), ("usb",)], [ids(1), ids(1)])
    assert len(cache) == 1
    used = cache.bytes_used
    cache.put_many([("usb",)], [ids(1)])
    assert cache.bytes_used == used

"""Keys of queries, splits by them, and products found by id whatever their hashes."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies

from training.data import loose_key, normalise_query, split_of
from training.data.formats import Rows
from training.data.leakage import refuse_leaks
from training.data.product_store import ProductStore
from training.data.splits import QueryHashes
from training.errors import TrainingError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("laptop", "Laptops"),
        ("phone case", "phonecase"),
        ("phone cases", "case, phone"),
        ("usb 3 hub", "hub usb3"),
        ("dress", "dresses"),
        ("battery", "batteries"),
        ("glass", "glasses"),
        ("t-shirt", "tshirts"),
    ],
)
def test_plurals_and_spacing_do_not_change_the_loose_key_nor_the_split(one, other):
    assert loose_key(one) == loose_key(other)
    assert all(split_of(one, share) == split_of(other, share) for share in (0.1, 0.3, 0.5, 0.7))


@pytest.mark.parametrize(
    ("one", "other"),
    [("tv 45", "tv 54"), ("iphone 12", "iphone 13"), ("bus", "bu"), ("glass", "glas"), ("lamp", "lamp shade")],
)
def test_other_queries_have_other_loose_keys(one, other):
    assert loose_key(one) != loose_key(other)


@given(strategies.text(max_size=30), strategies.randoms())
def test_what_the_strict_key_takes_for_the_same_the_loose_key_does_too(query, random):
    words = normalise_query(query).split()
    random.shuffle(words)
    other = " , ".join(words)
    assert normalise_query(other) == normalise_query(query)
    assert loose_key(other) == loose_key(query)


@pytest.mark.parametrize("key", [normalise_query, loose_key])
def test_one_character_written_in_two_ways_is_one_and_words_of_any_script_stay_whole(key):
    assert key("caf\u00e9") == key("cafe\u0301") != key("cafe")
    assert key("\uff49\uff30\uff48one") == key("iphone")
    assert len(normalise_query("मोबाइल फोन").split()) == 2
    assert key("मोबाइल") != key("मबइल")
    assert key("❤") != key("☂")


def test_a_query_without_a_word_has_an_empty_key():
    assert loose_key("?! -") == normalise_query("?! -") == ""


def test_a_share_of_the_queries_is_in_test():
    splits = [split_of(f"query number {i}", 0.3) for i in range(2000)]
    assert 0.26 < splits.count("test") / 2000 < 0.34


def test_a_hash_in_both_splits_is_no_leak_unless_the_keys_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr("training.data.splits.key_hash", lambda query: len(query))
    rows = [("lamp", "train"), ("desk", "test"), ("chairs", "train")]
    refuse_leaks([(tmp_path / "a", lambda: rows)])
    with pytest.raises(TrainingError, match="query 'desk' stands in train and in test"):
        refuse_leaks([(tmp_path / "a", lambda: [*rows, ("desk", "train")])])


def test_hashes_gathered_in_parts_are_a_set(monkeypatch):
    monkeypatch.setattr("training.data.splits._COMPACT_AT", 3)
    one, other = QueryHashes(), QueryHashes()
    for i in range(10):
        one.add([f"q{i}", f"q{i}"])
        other.add([f"q{i + 9}"])
    assert len(one.hashes()) == 10
    assert len(one.in_both(other)) == 1
    assert one.holds(["q9", "Q3!", "q10", "q0 q1"]).tolist() == [True, True, False, False]
    assert QueryHashes().holds(["q9"]).tolist() == [False]


def products(ids, titles, tmp_path):
    table = pa.table({"id": pa.array(ids, pa.string()), "title": pa.array(titles, pa.string())})
    return [Rows(tmp_path / "c.csv", table, np.arange(2, len(ids) + 2))]


@pytest.mark.parametrize("hash_of", [hash, lambda key: len(key), lambda _: 0])
@pytest.mark.parametrize("on_disk", [True, False])
def test_products_are_found_by_id_even_if_hashes_collide(tmp_path, hash_of, on_disk):
    path = tmp_path / "work" / "store" if on_disk else None
    with ProductStore(path, hash_of) as store:
        store.fill(products(["a", "bb", "c", "bb"], ["A", "B", None, "B"], tmp_path), ["id"], {"title": "title"})
        table, there = store.take(["c", "x", "a", "bb", "a"])
        assert table["title"].to_pylist() == [None, None, "A", "B", "A"]
        assert there.tolist() == [True, False, True, True, True]
    assert not on_disk or not path.exists()


@pytest.mark.parametrize("hash_of", [hash, lambda _: 0])
def test_different_products_under_one_id_are_named_with_both_lines(tmp_path, hash_of):
    rows = products(["a", "b", "c", "b"], ["A", "B", "C", "D"], tmp_path)
    message = r"c\.csv: two different products have the id 'b', in lines 3 and 5"
    with ProductStore(None, hash_of) as store, pytest.raises(TrainingError, match=message):
        store.fill(rows, ["id"], {"title": "title"})


def test_an_empty_catalogue_holds_no_product(tmp_path):
    with ProductStore(None) as store:
        store.fill([], ["id"], {"title": "title"})
        assert store.take(["a"])[1].tolist() == [False]

"""Mining: each way of finding candidates finds what it should, once, the same every time, and goes on after a kill."""

import gzip
import resource
import signal
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact import InputTemplate
from training.config import Mining, Pool, read_config
from training.data import JudgedPair, loose_key, read_all_judgements
from training.errors import TrainingError
from training.mining import mine, mined_shards, retrievers, training_queries
from training.mining.mine import candidate_lists
from training.mining.pool_index import PoolIndex
from training.mining.products import Products
from training.mining.queries import excluded_keys, read_pool
from training.mining.retrievers import Words, matches, nearest
from training.mining.vectors import vectors_on_disk
from training.runs import open_run
from training.tables import read_lists, shards
from training.teacher.similarity import SentenceEncoder, Similarity

QUOTAS = "random = 1\nnear_miss = 2\ndisagree = 2\n"


@pytest.fixture(scope="module")
def similarity(tiny_encoder):
    template = InputTemplate.model_validate(
        {"max_query_tokens": 16, "max_tokens": 48, "fields": [{"name": "title", "max_tokens": 16}]}
    )
    return Similarity(SentenceEncoder(str(tiny_encoder), "fp32"), template)


@pytest.fixture
def open_mining(config_file, data_folder, tmp_path):
    """Opens a run whose pool asks for every way of finding, in a folder of its own."""
    text = config_file.read_text().replace("random = 1\n", QUOTAS)
    text = text.replace("lists_per_shard = 5", "lists_per_shard = 5\ndisagree_top = 5\ndisagree_beyond = 10")
    config_file.write_text(text)
    return lambda name="run": open_run(tmp_path / name, read_config(config_file), data_folder)


def lists_of(similarity, products, queries, quota, **more):
    pools = Mining(pools={"shop": Pool(**quota)}, **more)
    with tempfile.TemporaryDirectory() as work:
        index = PoolIndex("shop", Products(products), pools, similarity, Path(work))
        return list(candidate_lists(queries, 0, [index], similarity.encoder, 1))


def contents(run):
    return {path.name: path.read_bytes() for path in shards(run.mined)}


def test_bm25_finds_what_shares_rare_words_and_nothing_that_shares_none():
    words = Words(["red lamp", "red mouse", "red chair", "", "blue desk", "mouse red"])
    assert words.search("mouse RED", 9) == [1, 5, 0, 2]
    assert words.search("mouse red", 1) == [1]
    assert words.search("desk lamp", 2) == [0, 4]
    assert words.search("phone", 3) == words.search("", 3) == []
    assert Words(["", "!"]).search("red", 2) == []


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 50), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_search_in_parts_finds_what_a_full_sort_finds(products, queries, depth, seed):
    random = np.random.default_rng(seed)
    vectors = random.integers(-3, 4, (products, 4)).astype(np.float16)
    asked = random.integers(-3, 4, (queries, 4)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrievers, "PRODUCTS_TOGETHER", 7)
        patch.setattr(retrievers, "QUERIES_TOGETHER", 3)
        found = nearest(asked, vectors, depth)
    scores = asked @ vectors.astype(np.float32).T
    best = -np.sort(-scores, axis=1)[:, :depth]
    assert (np.take_along_axis(scores, found, axis=1) == best).all()
    assert all(len(set(row)) == min(depth, products) for row in found.tolist())


def test_matches_take_turns_between_the_retrievers():
    assert matches([3, 1, 2], [1, 0, 4], 3) == [3, 1, 0]
    assert matches([], [5, 0], 3) == [5, 0]


SHELF = [
    {"title": "acme mouse black", "brand": "acme", "product_type": "mouse"},
    {"title": "globex mouse black", "brand": "globex", "product_type": "mouse"},
    {"title": "acme mouse red", "brand": "acme", "product_type": "mouse"},
    {"title": "initech lamp white", "brand": "initech", "product_type": "lamp"},
    {"title": "umbrella tripod red", "brand": "umbrella", "product_type": "tripod"},
]


def test_near_misses_of_the_best_match_are_found_and_named(similarity):
    (found,) = lists_of(similarity, SHELF, ["black acme mouse"], {"bm25": 1, "near_miss": 5})
    assert {(c.product["title"], c.found_by) for c in found.candidates} == {
        ("acme mouse black", "shop/bm25"),
        ("globex mouse black", "shop/near_miss:brand"),
        ("acme mouse red", "shop/near_miss:color"),
    }


def test_disagreeing_products_are_high_in_one_ranking_and_low_in_the_other(similarity):
    words = ["acme", "globex", "initech"], ["mouse", "lamp", "tripod", "headset"], ["black", "red", "white"]
    titles = [" ".join(parts) for parts in product(*words)]
    queries = ["red mouse", "white lamp", "acme", "black globex", "tripod", "initech headset"]
    shelf = [{"title": title} for title in titles]
    found = lists_of(similarity, shelf, queries, {"disagree": 5}, disagree_top=2, disagree_beyond=2)
    named = {e.query: {(c.found_by.rpartition(":")[2], c.product["title"]) for c in e.candidates} for e in found}
    expected = {}
    for query in queries:
        cosines = similarity.encoder.vectors(titles) @ similarity.encoder.vectors([query])[0]
        by_vectors = {titles[i] for i in np.argsort(-cosines)[:2]}
        by_words = {titles[i] for i in Words(titles).search(query, 2)}
        expected[query] = {("words", t) for t in by_words - by_vectors} | {
            ("vectors", t) for t in by_vectors - by_words
        }
    assert named == {query: pairs for query, pairs in expected.items() if len(pairs) > 1}
    assert {high for pairs in named.values() for high, _ in pairs} == {"words", "vectors"}


def test_every_way_stays_within_its_quota_and_all_are_used(open_mining):
    run = open_mining()
    assert mine(run)
    counts = {}
    for entry in read_lists(run.mined):
        ways = [candidate.found_by.split(":")[0] for candidate in entry.candidates]
        for way, quota in {"bm25": 2, "dense": 2, "middle": 1, "random": 1, "near_miss": 2, "disagree": 2}.items():
            assert ways.count(f"shop/{way}") <= quota
            counts[way] = counts.get(way, 0) + ways.count(f"shop/{way}")
    assert all(counts.values())


WORDS = st.sampled_from(["acme", "globex", "mouse", "Mouse", "lamp", "red", "blue", "MX-500", "2 m", "3 m"])
TEXTS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@given(st.lists(TEXTS, min_size=1, max_size=12), st.lists(TEXTS, min_size=1, max_size=4, unique=True))
@settings(max_examples=25, deadline=None)
def test_no_list_holds_a_product_twice_or_the_query_itself(similarity, titles, queries):
    quota = {"bm25": 2, "dense": 2, "middle": 2, "random": 2, "near_miss": 2, "disagree": 2}
    products = [{"title": title, "brand": title.split()[0]} for title in titles]
    for entry in lists_of(similarity, products, queries, quota, disagree_top=2, disagree_beyond=3):
        texts = [" ".join(c.product["title"].casefold().split()) for c in entry.candidates]
        assert len(set(texts)) == len(texts) > 1
        assert " ".join(entry.query.casefold().split()) not in texts


def test_queries_are_taken_once_across_their_spellings_and_never_from_the_test_split(open_mining):
    run = open_mining()
    with (run.data / "queries.csv").open("a") as file:
        file.write("Mouse - BLACK\nblack mouses\nblackmouse\nglobex lamps\nLAMP globex!\n")
    run = open_mining("another")
    judged = read_all_judgements(run.data, run.config.data)
    keys = [loose_key(query) for query in training_queries(run, judged)]
    assert len(set(keys)) == len(keys)
    assert keys.count(loose_key("black mouse")) == 1
    assert not set(keys) & {loose_key(pair.query) for pair in judged if pair.split == "test"}
    assert mine(run)
    assert sorted(loose_key(entry.query) for entry in read_lists(run.mined)) == sorted(keys)


def test_a_title_that_is_a_test_query_is_not_mined(open_mining):
    run = open_mining()
    pairs = [JudgedPair("Black acme LAMP", {"title": "x"}, "0", 0.0, "judged", "test")]
    products = read_pool(run, "shop", pairs, excluded_keys(pairs))
    titles = [product["title"] for batch in products.batches(100) for product in batch]
    assert len(titles) == 71
    assert "acme lamp black" not in titles


def test_mining_again_gives_the_same_bytes(open_mining):
    first, second = open_mining("one"), open_mining("two")
    assert mine(first)
    assert mine(second)
    assert contents(first) == contents(second)
    assert not first.work("mine").exists()


KILLED = """
import importlib, os, signal, sys
from pathlib import Path
from training.runs import read_run
stage = importlib.import_module("training.mining.mine")
write, left = stage.write_shard, [3]
def until_killed(path, lists):
    if not left[0]:
        path.with_suffix(".new").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    write(path, lists)
stage.write_shard = until_killed
stage.mine(read_run(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_a_killed_mining_goes_on_where_it_was_and_ends_as_if_it_had_not_been(open_mining, monkeypatch):
    whole, killed = open_mining("whole"), open_mining("killed")
    assert mine(whole)
    command = [sys.executable, "-c", KILLED, str(killed.folder), str(killed.data)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    done = {path: path.stat().st_mtime_ns for path in shards(killed.mined)}
    assert len(done) == 3 < len(shards(whole.mined))
    assert mine(killed)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert contents(killed) == contents(whole)
    assert (killed.mined / "done.json").read_bytes() == (whole.mined / "done.json").read_bytes()
    assert not mine(killed)


def test_vectors_are_not_made_again_after_a_kill(similarity, tmp_path, monkeypatch):
    monkeypatch.setattr("training.mining.vectors.PART", 4)
    texts = [f"mouse {i}" for i in range(18)]
    parts = [texts[start : start + 4] for start in range(0, 18, 4)]

    def until_killed():
        yield from parts[:2]
        raise KeyboardInterrupt

    path = tmp_path / "vectors.f16"
    with pytest.raises(KeyboardInterrupt):
        vectors_on_disk(path, until_killed(), 18, similarity.encoder)
    with path.open("ab") as file:
        file.write(b"half a row")
    asked = []
    vectors = similarity.encoder.vectors
    monkeypatch.setattr(similarity.encoder, "vectors", lambda batch: asked.extend(batch) or vectors(batch))
    found = vectors_on_disk(path, iter(parts), 18, similarity.encoder)
    assert [text for text in asked if text.startswith("mouse")] == texts[8:]
    assert (found == np.concatenate([vectors(part) for part in parts]).astype(np.float16)).all()
    assert path.stat().st_size == found.nbytes


def test_a_pool_without_vectors_to_search_encodes_nothing(similarity, tmp_path):
    settings_ = Mining(pools={"shop": Pool(bm25=2, random=1)})
    index = PoolIndex("shop", Products(SHELF), settings_, similarity, tmp_path / "work")
    assert not (tmp_path / "work").exists()
    assert next(index.search(["red"], similarity.encoder.vectors(["red"]))).by_vectors == []


def test_a_damaged_shard_stops_mining_in_a_sentence(open_mining):
    run = open_mining()
    assert mine(run)
    first, second = shards(run.mined)[:2]
    second.unlink()
    first.write_bytes(first.read_bytes()[:200])
    with pytest.raises(TrainingError, match=f"{first.name}: is damaged.*delete it and run the stage `mine` again"):
        mine(run)
    assert not second.exists()
    first.unlink()
    assert mine(run)
    assert len(mined_shards(run)) == len(shards(run.mined))


@pytest.mark.parametrize("products", ["sku,name,maker,shade\n", "sku,name,maker,shade\np0,,acme,red\n"])
def test_a_pool_without_titles_is_refused_before_anything_is_written(open_mining, data_folder, products):
    (data_folder / "judged.csv").write_text("query,sku,grade,split\n")
    (data_folder / "products.csv.gz").write_bytes(gzip.compress(products.encode()))
    run = open_mining()
    with pytest.raises(TrainingError, match=r"mining pool shop has no products with a title in products\.csv\.gz"):
        mine(run)
    assert not run.mined.exists()
    assert not run.work("mine").exists()


@pytest.mark.parametrize("without", ["", "dense = 2\nmiddle = 1\n" + QUOTAS])
def test_a_full_disk_leaves_nothing_half_written_and_mining_goes_on_later(open_mining, config_file, without):
    # vectors are the first to be written, and where the pool needs none, a shard is
    config_file.write_text(config_file.read_text().replace(without, "") if without else config_file.read_text())
    whole, run = open_mining("whole"), open_mining()
    assert mine(whole)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot be written: .*too large.*the same command goes on"):
            mine(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(run.folder.rglob("*.new"))
    assert not shards(run.mined)
    assert mine(run)
    assert contents(run) == contents(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pools": {"shop": {"bm25": 0}}}, "give at least one of bm25"),
        ({"pools": {"shop": {"bm25": 1}}, "disagree_top": 9, "disagree_beyond": 3}, "is less than disagree_top 9"),
        ({"pools": {"shop": {"bm25": 1}}, "weak_labels": {"pool": "attic"}}, "'attic' is not one of the pools"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Mining.model_validate(change)

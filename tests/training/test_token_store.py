"""Labelled lists on disk come back as they were tokenised."""

import resource
import signal

import numpy as np
import pytest

from artifact import InputTemplate, PairTokenizer, TemplateField
from training.errors import TrainingError
from training.tables import Candidate, CandidateList, write_shard
from training.token_store import DONE_FILE, TokenStore

TEMPLATE = InputTemplate(fields=(TemplateField(name="title", max_tokens=20),), max_query_tokens=8, max_tokens=32)


@pytest.fixture
def tokenizer(tiny_encoder):
    return PairTokenizer(tiny_encoder / "tokenizer.json", TEMPLATE)


def lists(sizes, first=0):
    return [
        CandidateList(
            first + i,
            "acme lamp" if i % 2 else "red mouse",
            tuple(Candidate({"title": f"globex lamp {'red ' * j}"}, "here", logit=i + j / 10) for j in range(size)),
        )
        for i, size in enumerate(sizes)
    ]


@pytest.fixture
def shards(tmp_path):
    write_shard(tmp_path / "a.parquet", lists([3, 1, 2]))
    write_shard(tmp_path / "b.parquet", lists([4, 2], first=3))
    return [tmp_path / "a.parquet", tmp_path / "b.parquet"]


def test_every_list_comes_back_with_its_tokens_and_labels(tmp_path, shards, tokenizer):
    store = TokenStore.build(tmp_path / "store", shards, tokenizer, "logit")
    expected = [entry for entry in [*lists([3, 1, 2]), *lists([4, 2], first=3)] if len(entry.candidates) > 1]
    assert (store.lists, store.pairs) == (4, 11)
    for i, entry in enumerate(expected):
        example = store[i]
        query = tokenizer.encode_query(entry.query)
        products = tokenizer.encode_products([candidate.product for candidate in entry.candidates])
        np.testing.assert_allclose(example.labels, [candidate.logit for candidate in entry.candidates], rtol=1e-6)
        assert len(example.pairs) == len(products)
        for (found_query, found_product), product in zip(example.pairs, products, strict=True):
            np.testing.assert_array_equal(found_query, query)
            np.testing.assert_array_equal(found_product, product)


def test_some_lists_can_be_taken_and_short_ones_kept(tmp_path, shards, tokenizer):
    assert TokenStore.build(tmp_path / "store", shards, tokenizer, "logit", max_lists=2).pairs == 5
    assert TokenStore.build(tmp_path / "store", shards, tokenizer, "logit", fewest=1).pairs == 12
    assert TokenStore.build(tmp_path / "store", shards, tokenizer, "logit", max_lists=1, skip_lists=2).pairs == 4


def test_a_store_is_made_once_and_again_when_its_shards_change(tmp_path, shards, tokenizer):
    TokenStore.build(tmp_path / "store", shards, tokenizer, "logit")
    written = (tmp_path / "store" / DONE_FILE).stat().st_mtime_ns
    TokenStore.build(tmp_path / "store", shards, tokenizer, "logit")
    assert (tmp_path / "store" / DONE_FILE).stat().st_mtime_ns == written
    write_shard(shards[1], lists([5, 5, 5]))
    assert TokenStore.build(tmp_path / "store", shards, tokenizer, "logit").pairs == 20


def test_a_store_left_half_written_is_made_again(tmp_path, shards, tokenizer):
    TokenStore.build(tmp_path / "store", shards, tokenizer, "logit")
    (tmp_path / "store" / DONE_FILE).unlink()
    (tmp_path / "store" / "ids").write_bytes(b"1234")
    assert TokenStore.build(tmp_path / "store", shards, tokenizer, "logit")[3].labels.size == 2


def test_a_full_disk_is_told_with_its_folder_and_leaves_nothing_behind(tmp_path, shards, tokenizer):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(TrainingError, match=r"store: cannot be written: File too large"):
            TokenStore.build(tmp_path / "store", shards, tokenizer, "logit")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list((tmp_path / "store").iterdir()) == []


def test_missing_labels_are_refused_with_the_query(tmp_path, shards, tokenizer):
    with pytest.raises(TrainingError, match=r"list 0 \('red mouse'\) has candidates without a target"):
        TokenStore.build(tmp_path / "store", shards, tokenizer, "target")
    write_shard(shards[0], lists([1, 1]))
    with pytest.raises(TrainingError, match="no labelled lists with enough products"):
        TokenStore.build(tmp_path / "store", shards[:1], tokenizer, "logit")

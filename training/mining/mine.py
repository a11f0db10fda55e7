"""Candidate lists for unlabelled queries: by BM25, by the sentence encoder, from its middle ranks, at random.

Test queries are kept out, and of judgements that carry their products, the products that only test rows hold. A
catalogue is taken whole: what is tested on it is new queries, not new products.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..config import Pool
from ..data import JudgedPair, normalise_query, read_all_judgements, read_catalogue, read_queries
from ..errors import TrainingError
from ..runs import Run, read_json, write_json
from ..tables import Candidate, CandidateList, shards, write_shard
from ..teacher.similarity import SentenceEncoder
from ..teacher.teacher import similarity_of

MIDDLE_RANKS = 200
DONE_FILE = "done.json"


@dataclass(frozen=True, slots=True)
class _Index:
    """One mining pool, searchable by words and by vectors."""

    name: str
    quota: Pool
    products: list[dict[str, str]]
    texts: list[str]
    words: bm25s.BM25
    vectors: NDArray[np.float32]


def mine(run: Run) -> bool:
    """Writes the candidate lists of all training queries as shards.

    Returns:
        Whether there was anything to do.

    Raises:
        TrainingError: the data sources give no candidates.
    """
    if (run.mined / DONE_FILE).exists() and len(shards(run.mined)) == _shards_expected(run):
        return False
    settings = run.config.mining
    judged = read_all_judgements(run.data, run.config.data)
    queries = training_queries(run, judged)
    if not queries:
        raise TrainingError("there are no queries to mine for: the data sources hold none outside the test split")
    similarity = similarity_of(run)
    pools = _products_by_pool(run, judged)
    indexes = [
        _index(name, settings.pools[name], products, [similarity.product_text(p) for p in products], similarity.encoder)
        for name, products in pools.items()
    ]
    per_shard = settings.lists_per_shard
    rows = 0
    with tqdm(total=len(queries), desc="mine", unit="query", mininterval=2, dynamic_ncols=True) as progress:
        for number, start in enumerate(range(0, len(queries), per_shard)):
            batch = queries[start : start + per_shard]
            lists = list(_lists(batch, start, indexes, similarity.encoder, run.config.seed))
            write_shard(run.mined / f"{number:05d}.parquet", lists)
            rows += sum(len(entry.candidates) for entry in lists)
            progress.update(len(batch))
    if not rows:
        raise TrainingError("no query has two candidates to compare: the mining pools need more products")
    write_json(run.mined / DONE_FILE, {"queries": len(queries), "pairs": rows})
    return True


def mined_shards(run: Run) -> list[Path]:
    """The shards of the finished mining.

    Raises:
        TrainingError: it is not finished, or shards of it are gone.
    """
    found = shards(run.mined)
    if not (run.mined / DONE_FILE).exists() or len(found) != _shards_expected(run):
        raise TrainingError(f"{run.folder}: has not all mined lists; run the stage `mine` first")
    return found


def _shards_expected(run: Run) -> int:
    queries: int = read_json(run.mined / DONE_FILE)["queries"]
    return -(-queries // run.config.mining.lists_per_shard)


def training_queries(run: Run, judged: Sequence[JudgedPair]) -> list[str]:
    """All unlabelled queries and the judged training queries, once each, none that a test split holds; shuffled."""
    config = run.config
    excluded = {normalise_query(pair.query) for pair in judged if pair.split == "test"}
    sources = [pair.query for pair in judged if pair.split == "train"]
    for source in config.data.queries:
        sources += read_queries(run.data, source)
    kept: dict[str, str] = {}
    for query in sources:
        key = normalise_query(query)
        if key and key not in excluded:
            kept.setdefault(key, query)
    queries = list(kept.values())
    np.random.default_rng(config.seed).shuffle(queries)
    return queries[: config.mining.max_queries]


def _products_by_pool(run: Run, judged: Sequence[JudgedPair]) -> dict[str, list[dict[str, str]]]:
    excluded = {normalise_query(pair.query) for pair in judged if pair.split == "test"}
    pools: dict[str, dict[str, dict[str, str]]] = {name: {} for name in run.config.mining.pools}
    for catalogue in run.config.data.catalogues:
        if catalogue.pool is not None:
            for _, product in read_catalogue(run.data, catalogue):
                title = product.get("title", "")
                if title and normalise_query(title) not in excluded:
                    pools[catalogue.pool].setdefault(title, product)
    for source in run.config.data.judgements:
        if source.pool is not None:
            for pair in judged:
                if pair.source == source.name and pair.split == "train" and pair.product.get("title"):
                    pools[source.pool].setdefault(pair.product["title"], dict(pair.product))
    for name, products in pools.items():
        if not products:
            raise TrainingError(f"mining pool {name} has no products with a title")
    return {name: list(products.values()) for name, products in pools.items()}


def _index(
    name: str, quota: Pool, products: list[dict[str, str]], texts: list[str], encoder: SentenceEncoder
) -> _Index:
    words = bm25s.BM25()
    words.index(_words(texts), show_progress=False)
    parts = [
        encoder.vectors(texts[start : start + 1024])
        for start in tqdm(range(0, len(texts), 1024), desc=f"encode {name}", unit="kproducts", dynamic_ncols=True)
    ]
    return _Index(name, quota, products, texts, words, np.concatenate(parts))


def _words(texts: Sequence[str]) -> list[list[str]]:
    return [normalise_query(text).split() or [""] for text in texts]


def _lists(
    queries: list[str], first: int, indexes: Sequence[_Index], encoder: SentenceEncoder, seed: int
) -> Iterator[CandidateList]:
    vectors = encoder.vectors(queries)
    found = [_search(queries, vectors, index) for index in indexes]
    for i, query in enumerate(queries):
        random = np.random.default_rng((seed, first + i))
        candidates: dict[str, Candidate] = {}
        for index, (by_words, by_vectors) in zip(indexes, found, strict=True):
            for how, wanted, ranked in _draws(index, by_words[i], by_vectors[i], random):
                fresh = (j for j in ranked if index.texts[j] not in candidates and index.texts[j] != query)
                for j, _ in zip(fresh, range(wanted), strict=False):
                    candidates[index.texts[j]] = Candidate(index.products[j], f"{index.name}/{how}")
        if len(candidates) > 1:
            yield CandidateList(first + i, query, tuple(candidates.values()))


def _draws(
    index: _Index, by_words: NDArray[np.int64], by_vectors: NDArray[np.int64], random: np.random.Generator
) -> Iterator[tuple[str, int, list[int]]]:
    """(how, wanted, ranked positions) for each way of finding candidates; more ranked than wanted, for duplicates."""
    quota = index.quota
    yield "bm25", quota.bm25, by_words.tolist()
    yield "dense", quota.dense, by_vectors.tolist()
    middle = by_vectors[quota.dense : MIDDLE_RANKS]
    yield "middle", quota.middle, random.permutation(middle).tolist()
    yield "random", quota.random, random.integers(len(index.products), size=4 * quota.random).tolist()


def _search(
    queries: list[str], vectors: NDArray[np.float32], index: _Index
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Best positions, best first: by words, (queries, up to 4 x quota); by cosine, (queries, up to 200)."""
    depth = min(len(index.products), max(1, 4 * index.quota.bm25))
    by_words, _ = index.words.retrieve(_words(queries), k=depth, show_progress=False)
    scores = vectors @ index.vectors.T
    depth = min(len(index.products), MIDDLE_RANKS)
    top = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.asarray(by_words, np.int64), np.take_along_axis(top, order, axis=1)

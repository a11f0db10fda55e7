"""The mining stage: candidate lists for unlabelled queries, shard by shard.

Test queries are kept out, and of judgements that carry their products, the products that only test rows hold. A
catalogue is taken whole: what is tested on it is new queries, not new products. A list depends on the seed, its number
and its shard's queries alone, so that an interrupted run ends with the shards of an uninterrupted one.
"""

import shutil
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from ..data import judged_pairs
from ..errors import TrainingError
from ..runs import Run
from ..tables import Candidate, CandidateList, write_shard
from ..teacher.similarity import SentenceEncoder
from ..teacher.teacher import similarity_of
from .pool_index import Found, PoolIndex
from .products import Products, digest
from .queries import excluded_keys, read_pool, training_queries
from .shards import finish, is_finished, rows_of, shard_path


def mine(run: Run) -> bool:
    """Writes the candidate lists of all training queries as shards; shards that are there are not mined again.

    Returns:
        Whether there was anything to do.

    Raises:
        TrainingError: the data sources give no candidates, a shard is damaged, or the disk is full.
    """
    if is_finished(run):
        return False
    queries = training_queries(run, judged_pairs(run))
    if not queries:
        raise TrainingError("there are no queries to mine for: the data sources hold none outside the test split")
    size = run.config.mining.lists_per_shard
    numbers = range(-(-len(queries) // size))
    rows = sum(rows_of(shard_path(run, number)) for number in numbers if shard_path(run, number).exists())
    todo = [number for number in numbers if not shard_path(run, number).exists()]
    excluded = excluded_keys(judged_pairs(run))
    pools = {name: read_pool(run, name, judged_pairs(run), excluded) for name in run.config.mining.pools}
    try:
        rows += _mine(run, queries, todo, pools) if todo else 0
        if not rows:
            raise TrainingError("no query has two candidates to compare: the mining pools need more products")
        finish(run, len(queries), rows)
        shutil.rmtree(run.work("mine"), ignore_errors=True)
    except OSError as error:
        raise TrainingError(
            f"{run.folder}: cannot be written: {error.strerror or error}; the same command goes on once that is mended"
        ) from error
    return True


def _mine(run: Run, queries: Sequence[str], todo: Sequence[int], pools: dict[str, Products]) -> int:
    """Mines the shards with the numbers of `todo`; returns their rows."""
    similarity = similarity_of(run)
    settings = run.config.mining
    if not pools:
        raise TrainingError("there is nothing to mine: mining.pools is empty; name a pool there and in a data source")
    indexes = [
        PoolIndex(name, products, settings, similarity, run.work("mine"), number)
        for number, (name, products) in enumerate(pools.items())
    ]
    size, rows = settings.lists_per_shard, 0
    there = len(queries) - sum(len(queries[number * size : (number + 1) * size]) for number in todo)
    with tqdm(
        desc="mine", total=len(queries), initial=there, unit="query", mininterval=2, dynamic_ncols=True
    ) as progress:
        for number in todo:
            batch = queries[number * size : (number + 1) * size]
            lists = list(candidate_lists(batch, number * size, indexes, similarity.encoder, run.config.seed))
            write_shard(shard_path(run, number), lists)
            rows += sum(len(entry.candidates) for entry in lists)
            progress.update(len(batch))
    return rows


def candidate_lists(
    queries: Sequence[str], first: int, indexes: Sequence[PoolIndex], encoder: SentenceEncoder, seed: int
) -> Iterator[CandidateList]:
    """The lists of queries that have two candidates or more.

    No list holds two products of the same text or one whose text is the query, letter case and spacing aside.

    Args:
        queries: of one shard.
        first: the number of the first; a list draws from (seed, its number).
        indexes: the pools.
        encoder: of the queries.
        seed: of the run.
    """
    vectors = encoder.vectors(queries)
    ranks = zip(*(index.search(queries, vectors) for index in indexes), strict=True)
    for i, (query, found) in enumerate(zip(queries, ranks, strict=True)):
        random = np.random.default_rng((seed, first + i))
        taken = {digest(query)}
        candidates: list[Candidate] = []
        for index, by_pool in zip(indexes, found, strict=True):
            picked: list[Found] = []
            for wanted, ranked in index.draws(by_pool, random):
                fresh = _fresh(ranked, index, taken)
                picked += [entry for _, entry in zip(range(wanted), fresh, strict=False)]
            products = index.products.take([position for position, _ in picked])
            candidates += [
                Candidate(product, f"{index.name}/{how}") for product, (_, how) in zip(products, picked, strict=True)
            ]
        if len(candidates) > 1:
            yield CandidateList(first + i, query, tuple(candidates))


def _fresh(ranked: Iterator[Found], index: PoolIndex, taken: set[int]) -> Iterator[Found]:
    for position, how in ranked:
        key = int(index.digests[position])
        if key not in taken:
            taken.add(key)
            yield position, how

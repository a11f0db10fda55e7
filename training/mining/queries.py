"""Which queries are mined for, which texts never are, and the products of each pool."""

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import chain

import numpy as np

from ..data import JudgedPair, catalogue_products, loose_key, queries
from ..errors import TrainingError
from ..runs import Run
from .products import Products


def excluded_keys(judged: Iterable[JudgedPair]) -> set[str]:
    """The loose keys of all test queries: no query or title with one of them may be mined."""
    return {loose_key(pair.query) for pair in judged if pair.split == "test"}


def training_queries(run: Run, judged: Iterable[JudgedPair]) -> list[str]:
    """All unlabelled queries and the judged training queries, shuffled by the run's seed.

    Of spellings with one loose key the first is kept, and none whose loose key a test query has.
    """
    config = run.config
    excluded: set[str] = set()
    sources: dict[str, None] = {}
    for pair in judged:
        if pair.split == "test":
            excluded.add(loose_key(pair.query))
        elif pair.split == "train":
            sources.setdefault(pair.query)
    seen = excluded | {""}
    kept: list[str] = []
    for query in chain(sources, queries(run)):
        key = loose_key(query)
        if key not in seen:
            seen.add(key)
            kept.append(query)
    np.random.default_rng(config.seed).shuffle(kept)
    return kept[: config.mining.max_queries]


def read_pool(run: Run, name: str, judged: Iterable[JudgedPair], excluded: Set[str]) -> Products:
    """The products of a mining pool: catalogues whole, and of judgements the products of their training rows.

    Args:
        run: its configuration says which sources belong to the pool.
        name: of the pool.
        judged: the judged pairs of all sources.
        excluded: loose keys of the titles that stay out.

    Raises:
        TrainingError: no product of it has a title.
    """
    products = Products(row for row in _rows(run, name, judged) if loose_key(row.get("title", "")) not in excluded)
    if not len(products):
        files = [c.file for c in run.config.data.catalogues if c.pool == name]
        files += [j.file for j in run.config.data.judgements if j.pool == name]
        raise TrainingError(
            f"mining pool {name} has no products with a title in {', '.join(files)}; "
            "map a column that is filled to `title`, or leave the pool out"
        )
    return products


def _rows(run: Run, name: str, judged: Iterable[JudgedPair]) -> Iterator[Mapping[str, str]]:
    for catalogue in run.config.data.catalogues:
        if catalogue.pool == name:
            for _, product in catalogue_products(run, catalogue.name):
                yield product
    wanted = {source.name for source in run.config.data.judgements if source.pool == name}
    if wanted:
        for pair in judged:
            if pair.source in wanted and pair.split == "train":
                yield pair.product

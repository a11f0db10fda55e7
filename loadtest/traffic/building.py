"""Builds a traffic file from judgements and a catalogue: real queries, each with the candidates a retriever might give.

A query's candidates are its rated products first, then products that share words with it, drawn from the best
matches so that two requests of one query differ, then any products.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import TrafficError
from .catalogue import OVERSAMPLING, Catalogue, Columns, candidates, read_catalogue, read_rows
from .distinct import text_key
from .requests import MAX_LINES, MAX_QUERY_CHARS, make_request


@dataclass(frozen=True, slots=True)
class Built:
    """What was written."""

    requests: int
    queries: int
    products: int
    rated_missing: int
    """Rated products that the catalogue does not hold."""


def build_traffic(
    judgements: Path,
    catalogue: Path,
    out: Path,
    *,
    columns: Columns,
    products: int,
    requests: int | None,
    seed: int,
    distinct_pairs: bool = False,
) -> Built:
    """Writes `requests` lines (one a query by default) of `products` candidates each. Equal arguments, equal file.

    With `distinct_pairs` no query meets a title twice in the whole file.

    Raises:
        TrafficError: naming the file, and the column or the number that does not fit.
    """
    rated = read_judgements(judgements, columns)
    stock = read_catalogue(catalogue, columns)
    if len(stock.products) < products:
        raise TrafficError(f"{catalogue}: expected at least {products} products, found {len(stock.products)}")
    queries = list(rated)
    count = len(queries) if requests is None else requests
    if count > MAX_LINES:
        raise TrafficError(f"expected at most {MAX_LINES} requests, not {count}")
    met: dict[str, set[str]] = defaultdict(set)
    unfinished = out.with_name(out.name + ".part")
    try:
        with unfinished.open("wb") as file:
            for number in range(count):
                query = queries[number % len(queries)]
                line_random = random.Random(f"traffic {seed} {number}")
                if distinct_pairs:
                    chosen = _unmet(query, rated[query], stock, products, line_random, met[text_key(query)])
                else:
                    chosen = _candidates(query, rated[query], stock, products, line_random)
                file.write(make_request(query, [stock.products[index] for index in chosen]).body + b"\n")
        unfinished.replace(out)
    except OSError as error:
        raise TrafficError(f"{out}: cannot be written: {error}") from None
    missing = sum(product_id not in stock.index_of_id for ids in rated.values() for product_id in ids)
    return Built(count, len(queries), len(stock.products), missing)


def read_judgements(path: Path, columns: Columns) -> dict[str, list[str]]:
    """Query -> ids of its rated products, in the order of the file."""
    rated: dict[str, list[str]] = {}
    for row in read_rows(path, (columns.query, columns.product_id)):
        query = row[columns.query].strip()[:MAX_QUERY_CHARS]
        if query:
            rated.setdefault(query, []).append(row[columns.product_id])
    if not rated:
        raise TrafficError(f"{path}: expected at least one query in column {columns.query!r}, found none")
    return rated


def _candidates(
    query: str, rated_ids: Sequence[str], stock: Catalogue, count: int, line_random: random.Random
) -> list[int]:
    rated = [stock.index_of_id[i] for i in rated_ids if i in stock.index_of_id]
    best = stock.neighbours(query, OVERSAMPLING * count)
    return candidates(rated, best, len(stock.products), count, line_random)


def _unmet(
    query: str, rated_ids: Sequence[str], stock: Catalogue, count: int, line_random: random.Random, met: set[str]
) -> list[int]:
    """As `_candidates`, of titles that are not in `met`; adds them."""
    best = stock.neighbours(query, OVERSAMPLING * count + len(met))
    rated = [stock.index_of_id[i] for i in rated_ids if i in stock.index_of_id]
    others = line_random.sample(range(len(stock.products)), len(stock.products))
    chosen: list[int] = []
    for index in (*rated, *best, *others):
        title = text_key(stock.products[index].get("title"))
        if title not in met:
            met.add(title)
            chosen.append(index)
        if len(chosen) == count:
            break
    else:
        raise TrafficError(f"expected {count} more titles for the query {query!r}, the catalogue has {len(chosen)}")
    line_random.shuffle(chosen)
    return chosen

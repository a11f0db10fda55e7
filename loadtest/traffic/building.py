"""Builds a traffic file from judgements and a catalogue: real queries, each with the candidates a retriever might give.

A query's candidates are its rated products first, then products that share words with it, drawn from the best
matches so that two requests of one query differ, then any products.
"""

import csv
import math
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import TrafficError
from .distinct import text_key
from .requests import MAX_FIELD_CHARS, MAX_LINES, MAX_QUERY_CHARS, Product, make_request, open_text

_WORD = re.compile(r"\w+")
_OVERSAMPLING = 3
_MAX_CSV_FIELD_CHARS = 4 << 20


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns: of the judgements (`query`, `product_id`) and of the catalogue (all but `query`).

    An empty name leaves that product field out.
    """

    query: str = "query"
    product_id: str = "product_id"
    title: str = "title"
    brand: str = "brand"
    color: str = "colour"
    product_type: str = "category"
    description: str = "short_description"

    def of_product(self) -> dict[str, str]:
        """Product field -> column."""
        fields = ("title", "brand", "color", "product_type", "description")
        return {name: getattr(self, name) for name in fields if getattr(self, name)}


@dataclass(slots=True)
class Catalogue:
    """Products, and which of them hold a word."""

    products: list[Product] = field(default_factory=list)
    index_of_id: dict[str, int] = field(default_factory=dict)
    postings: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, product_id: str, product: Product) -> None:
        """Adds a product; of two with one id the first stays."""
        if product_id in self.index_of_id:
            return
        index = len(self.products)
        self.index_of_id[product_id] = index
        self.products.append(product)
        text = " ".join(product.get(name) or "" for name in ("title", "brand", "color", "product_type"))
        for word in words(text):
            self.postings[word].append(index)

    def neighbours(self, query: str, count: int) -> list[int]:
        """The `count` products that share the most words with the query, rare words counting more; may be fewer."""
        overlap: dict[int, float] = defaultdict(float)
        for word in sorted(words(query)):
            holders = self.postings.get(word, ())
            for index in holders:
                overlap[index] += math.log(1 + len(self.products) / len(holders))
        return sorted(overlap, key=lambda index: (-overlap[index], index))[:count]


@dataclass(frozen=True, slots=True)
class Built:
    """What was written."""

    requests: int
    queries: int
    products: int
    rated_missing: int
    """Rated products that the catalogue does not hold."""


def words(text: str) -> set[str]:
    """Lower-cased words."""
    return set(_WORD.findall(text.lower()))


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
    for row in _rows(path, (columns.query, columns.product_id)):
        query = row[columns.query].strip()[:MAX_QUERY_CHARS]
        if query:
            rated.setdefault(query, []).append(row[columns.product_id])
    if not rated:
        raise TrafficError(f"{path}: expected at least one query in column {columns.query!r}, found none")
    return rated


def read_catalogue(path: Path, columns: Columns) -> Catalogue:
    """Products without a title are left out."""
    fields = columns.of_product()
    if "title" not in fields:
        raise TrafficError("the catalogue's title column must have a name")
    catalogue = Catalogue()
    for row in _rows(path, (columns.product_id, *fields.values())):
        product = {name: row[column].strip()[:MAX_FIELD_CHARS] for name, column in fields.items()}
        if product["title"]:
            catalogue.add(row[columns.product_id], {"id": row[columns.product_id], **product})
    return catalogue


def _candidates(
    query: str, rated_ids: Sequence[str], stock: Catalogue, count: int, line_random: random.Random
) -> list[int]:
    chosen = list(dict.fromkeys(stock.index_of_id[i] for i in rated_ids if i in stock.index_of_id))[:count]
    best = [index for index in stock.neighbours(query, _OVERSAMPLING * count) if index not in set(chosen)]
    chosen += line_random.sample(best, min(len(best), count - len(chosen)))
    taken = set(chosen)
    while len(chosen) < count:
        index = line_random.randrange(len(stock.products))
        if index not in taken:
            taken.add(index)
            chosen.append(index)
    line_random.shuffle(chosen)
    return chosen


def _unmet(
    query: str, rated_ids: Sequence[str], stock: Catalogue, count: int, line_random: random.Random, met: set[str]
) -> list[int]:
    """As `_candidates`, of titles that are not in `met`; adds them."""
    best = stock.neighbours(query, _OVERSAMPLING * count + len(met))
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


def _rows(path: Path, needed: Sequence[str]) -> Iterator[Mapping[str, str]]:
    csv.field_size_limit(_MAX_CSV_FIELD_CHARS)
    number = 0
    try:
        with open_text(path) as file:
            reader = csv.DictReader(file, restval="")
            for column in needed:
                if column not in (reader.fieldnames or ()):
                    found = ", ".join(reader.fieldnames or ()) or "none"
                    raise TrafficError(f"{path}: expected a column {column!r}, found {found}")
            for row in reader:
                number = reader.line_num
                yield row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise TrafficError(f"{path}: cannot be read after line {number}: {error}") from None

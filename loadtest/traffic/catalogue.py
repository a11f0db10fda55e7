"""Products to draw candidates from, read from CSV or JSONL, and which of them a retriever might give for a query."""

import csv
import math
import random
import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import TrafficError
from .requests import MAX_FIELD_CHARS, Product, check_product, compact_json, open_text, read_objects

MAX_CATALOGUE_PRODUCTS = 200_000
OVERSAMPLING = 3
"""Candidates are drawn from so many times as many of the best matches."""
_WORD = re.compile(r"\w+")
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
    postings: dict[str, "array[int]"] = field(default_factory=lambda: defaultdict(lambda: array("I")))

    @classmethod
    def of(cls, products: Iterable[Product]) -> "Catalogue":
        """Of products with ids or without: each counts by itself."""
        made = cls()
        for number, product in enumerate(products):
            made.add(str(number), product)
        return made

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


def words(text: str) -> set[str]:
    """Lower-cased words."""
    return set(_WORD.findall(text.lower()))


def candidates(
    first: Iterable[int], best: Sequence[int], stock: int, count: int, made_random: random.Random
) -> list[int]:
    """`count` of the products 0 to `stock` - 1 in random order: the `first`, then some of the `best`, then any."""
    chosen = list(dict.fromkeys(first))[:count]
    taken = set(chosen)
    others = [index for index in best if index not in taken]
    chosen += made_random.sample(others, min(len(others), count - len(chosen)))
    taken = set(chosen)
    while len(chosen) < count:
        index = made_random.randrange(stock)
        if index not in taken:
            taken.add(index)
            chosen.append(index)
    made_random.shuffle(chosen)
    return chosen


def load_catalogue(path: Path) -> Catalogue:
    """CSV with the default columns where the name ends in .csv or .csv.gz, else JSONL of the contract's products.

    Raises:
        TrafficError: naming file, line and field.
    """
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    if suffixes and suffixes[-1] == ".csv":
        return read_catalogue(path, Columns())
    products: list[Product] = []
    for product, _, where in read_objects(path, MAX_CATALOGUE_PRODUCTS, "product"):
        check_product(product, where)
        check_sendable(product, where)
        products.append(product)
    return Catalogue.of(products)


def read_catalogue(path: Path, columns: Columns) -> Catalogue:
    """CSV. Products without a title are left out."""
    fields = columns.of_product()
    if "title" not in fields:
        raise TrafficError("the catalogue's title column must have a name")
    catalogue = Catalogue()
    for row in read_rows(path, (columns.product_id, *fields.values())):
        product = {name: row[column].strip()[:MAX_FIELD_CHARS] for name, column in fields.items()}
        if product["title"]:
            catalogue.add(row[columns.product_id], {"id": row[columns.product_id], **product})
        if len(catalogue.products) > MAX_CATALOGUE_PRODUCTS:
            raise TrafficError(f"{path}: expected at most {MAX_CATALOGUE_PRODUCTS} products")
    return catalogue


def check_sendable(value: object, where: str) -> None:
    """Raises TrafficError for half a surrogate pair: JSON can escape it, UTF-8 cannot write it."""
    try:
        compact_json(value)
    except UnicodeEncodeError as error:
        raise TrafficError(f"{where}: expected text that UTF-8 can write: {error.reason}") from None


def read_rows(path: Path, needed: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Rows of a CSV file with a heading.

    Raises:
        TrafficError: it cannot be read, or a needed column is missing.
    """
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

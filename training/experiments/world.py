"""The controlled world: real products, queries made from their attributes, truth by rule, raters who misread it.

It is written as the files that the ordinary stages read: a catalogue, judgements whose train split carries the raters'
grades and whose test split carries the truth, unlabelled queries, and a configuration.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data import normalise_query, read_rows
from ..errors import TrainingError
from ..runs import replacing, write_json
from .candidates import Encode, Finder
from .facets import normal, read_facets, shows
from .queries import WorldProduct, intent_from, word
from .truth import Intent, agreed, rate, true_grade
from .types import type_of

PRODUCTS_FILE, JUDGED_FILE, QUERIES_FILE, FACTS_FILE = "products.csv", "judged.csv", "queries.csv", "world.json"
_COLUMNS = {"product_id", "title", "brand", "colour", "short_description", "attributes"}
_TRIES_PER_QUERY = 60


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """Size and noise of a world.

    Attributes:
        misread: probability that a rater misreads a pair; see `truth.rate`.
        hidden_share: probability that a query asks for a facet which only the description shows; see
            `queries.intent_from`.
    """

    seed: int = 7
    train_queries: int = 176
    train_candidates: int = 17
    test_queries: int = 450
    test_candidates: int = 24
    unlabelled_queries: int = 20_000
    raters: int = 3
    misread: float = 0.3
    hidden_share: float = 0.1


@dataclass(frozen=True, slots=True)
class Judged:
    """A judged pair of the world."""

    query: str
    intent: Intent
    product: WorldProduct
    split: str
    truth: int
    ratings: tuple[int, ...]

    @property
    def grade(self) -> int:
        """What the files say: the raters' grade in train, the truth in test."""
        return agreed(self.ratings) if self.split == "train" else self.truth


@dataclass(frozen=True, slots=True)
class World:
    """A catalogue, judged pairs, and unlabelled queries with what they mean."""

    settings: WorldSettings
    products: tuple[WorldProduct, ...]
    judged: tuple[Judged, ...]
    unlabelled: tuple[tuple[str, Intent], ...]


def read_products(path: Path) -> list[WorldProduct]:
    """The products of an Icecat table that have a type and a facet besides the brand, one per title.

    Raises:
        TrainingError: the table cannot be read, or attributes are no JSON object.
    """
    products: dict[str, WorldProduct] = {}
    for line, row in read_rows(path, _COLUMNS):
        try:
            attributes = {name: str(value) for name, value in json.loads(row["attributes"] or "{}").items()}
        except (ValueError, AttributeError) as error:
            raise TrainingError(f"{path}, line {line}: attributes: expected a JSON object: {error}") from error
        kind = type_of(row["title"], attributes)
        facets = read_facets(row["title"], row["brand"], attributes)
        if kind is not None and set(facets) - {"brand"}:
            text = _description(row["title"], row["short_description"], facets)
            product = WorldProduct(
                row["product_id"], row["title"], row["brand"], row["colour"], kind.name, text, facets
            )
            products.setdefault(row["title"], product)
    return list(products.values())


def _description(title: str, short: str, facets: dict[str, frozenset[str]]) -> str:
    """The facets as a table of specifications, as shops show one, then the short description."""
    # the brand is a field of its own
    names = [name for name in facets if name != "brand"]
    table = ", ".join(f"{name}: {' '.join(sorted(facets[name]))}" for name in names).replace(": true", "")
    return ". ".join(text for text in (table, "" if normal(short) in normal(title) else short) if text)


def make_world(products: Sequence[WorldProduct], encode: Encode, settings: WorldSettings) -> World:
    """Makes a world from a catalogue; the same for the same arguments.

    No query of another split means or, word order aside, says the same as a test query.

    Raises:
        TrainingError: the catalogue is too small for as many different queries.
    """
    drawn = _queries(products, settings)
    test, judged_intents = _take(drawn, settings.test_queries, set(), set())
    said = {normalise_query(query) for query, _, _ in test}
    train, _ = _take(drawn, settings.train_queries, said, judged_intents)
    said_in_train = {normalise_query(query) for query, _, _ in train}
    unlabelled, _ = _take(drawn, settings.unlabelled_queries, said | said_in_train, judged_intents)
    finder = Finder(products, encode)
    judged = [
        judged_pair
        for split, queries, count in (
            ("train", train, settings.train_candidates),
            ("test", test, settings.test_candidates),
        )
        for judged_pair in _judge(finder, encode, queries, split, count, settings)
    ]
    return World(settings, tuple(products), tuple(judged), tuple((query, intent) for query, intent, _ in unlabelled))


_Query = tuple[str, Intent, int]


def _queries(products: Sequence[WorldProduct], settings: WorldSettings) -> Iterator[_Query]:
    """Endless different-looking queries with their intents and the positions of the products they were made from."""
    if not products:
        raise TrainingError("the controlled world needs products with a type and facets; the catalogue has none")
    random = np.random.default_rng((settings.seed, 1))
    tries = _TRIES_PER_QUERY * (settings.test_queries + settings.train_queries + settings.unlabelled_queries)
    for _ in range(tries):
        source = int(random.integers(len(products)))
        intent = intent_from(products[source], settings.hidden_share, random)
        yield word(intent, random), intent, source


def _take(drawn: Iterator[_Query], count: int, said: set[str], meant: set[Intent]) -> tuple[list[_Query], set[Intent]]:
    """The next queries that neither say nor mean what is taken, each saying something else; and what they mean."""
    taken: dict[str, _Query] = {}
    for query, intent, source in drawn:
        key = normalise_query(query)
        if key not in said and intent not in meant:
            taken.setdefault(key, (query, intent, source))
        if len(taken) == count:
            return list(taken.values()), {intent for _, intent, _ in taken.values()}
    raise TrainingError(
        f"the catalogue gives fewer than {count} different queries; ask for fewer, or give more products"
    )


def _judge(
    finder: Finder, encode: Encode, queries: Sequence[_Query], split: str, count: int, settings: WorldSettings
) -> Iterator[Judged]:
    vectors = encode([query for query, _, _ in queries])
    for number, (query, intent, source) in enumerate(queries):
        random = np.random.default_rng((settings.seed, 2 if split == "train" else 3, number))
        for product in finder.candidates(query, vectors[number], intent, source, count, random):
            truth = true_grade(intent, product.type, product.facets)
            ratings = rate(truth, settings.misread, settings.raters, random)
            yield Judged(query, intent, product, split, truth, tuple(ratings))


def visible_share(world: World) -> float:
    """Of the facets that judged products have as wanted, the share that a model sees without a description."""
    seen = [
        shows(pair.product.visible, name, value)
        for pair in world.judged
        if pair.product.type == pair.intent.type
        for name, value in pair.intent.facets
        if value in pair.product.facets.get(name, ())
    ]
    return sum(seen) / max(1, len(seen))


def write_world(world: World, folder: Path) -> None:
    """Writes the files of a world; the facts come last, so that where they stand all of it does."""
    _write(
        folder / PRODUCTS_FILE,
        ("product_id", "title", "brand", "colour", "type", "description"),
        ((p.id, p.title, p.brand, p.colour, p.type, p.description) for p in world.products),
    )
    _write(
        folder / JUDGED_FILE,
        ("query", "product_id", "grade", "split", "truth", "ratings"),
        ((j.query, j.product.id, j.grade, j.split, j.truth, " ".join(map(str, j.ratings))) for j in world.judged),
    )
    _write(folder / QUERIES_FILE, ("query",), ((query,) for query, _ in world.unlabelled))
    write_json(folder / FACTS_FILE, facts(world))


def facts(world: World) -> dict[str, Any]:
    """What a world is like: its settings, sizes, and shares."""
    train = [pair for pair in world.judged if pair.split == "train"]
    test = [pair for pair in world.judged if pair.split == "test"]
    return {
        "settings": asdict(world.settings),
        "products": len(world.products),
        "train_pairs": len(train),
        "test_pairs": len(test),
        "test_grades": {str(grade): sum(pair.truth == grade for pair in test) for grade in range(4)},
        "visible_share": round(visible_share(world), 4),
        "raters_wrong_share": round(sum(agreed(p.ratings) != p.truth for p in train) / max(1, len(train)), 4),
    }


def _write(path: Path, header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> None:
    with replacing(path) as new, new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)

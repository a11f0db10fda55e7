"""The controlled world on a small made-up catalogue."""

import csv
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.config import read_config
from training.data import normalise_query, read_all_judgements
from training.errors import TrainingError
from training.experiments import world as world_module
from training.experiments.facets import read_facets, shows, wordings
from training.experiments.queries import WorldProduct
from training.experiments.truth import Intent, agreed, rate, true_grade
from training.experiments.types import type_of
from training.experiments.world import (
    WorldSettings,
    facts,
    make_world,
    read_products,
    visible_share,
    write_world,
)

SMALL = WorldSettings(
    seed=1, train_queries=12, train_candidates=8, test_queries=15, test_candidates=10, unlabelled_queries=60
)
BRANDS = ("acme", "globex", "initech", "umbrella")
COLOURS = ("Black", "White", "Red")


def encode(texts):
    """A hashed bag of words: enough meaning for retrieval, the same everywhere."""
    vectors = np.full((len(texts), 64), 1e-6, np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for word in text.lower().split():
            row[zlib.crc32(word.encode()) % 64] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """108 products in the columns of the Icecat table: mice, network cables and notebooks."""
    path = tmp_path_factory.mktemp("catalogue") / "icecat.csv"
    rows = []
    for brand in BRANDS:
        for colour in COLOURS:
            for i, length in enumerate((1.0, 3.0, 5.0)):
                rows += [
                    (
                        f"{brand} {colour} {length:g} m networking cable",
                        colour,
                        {"cable_length": length, "cable_standard": "Cat6"},
                    ),
                    (f"{brand} M{i} mouse {colour}", colour, {"connectivity_technology": ("Wired", "Wireless")[i % 2]}),
                    (
                        f"{brand} X{i} Notebook",
                        colour,
                        {"product_type": "Notebook", "internal_memory": 4.0 * 2**i, "product_colour": colour},
                    ),
                ]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product_id", "title", "brand", "colour", "short_description", "attributes"])
        for i, (title, colour, attributes) in enumerate(rows):
            writer.writerow([f"p{i}", f"{title} {i}", title.split()[0], colour, "", json.dumps(attributes)])
        writer.writerow(["odd", "acme something", "acme", "", "", "{}"])
    return path


@pytest.fixture(scope="module")
def world(catalogue):
    return make_world(read_products(catalogue), encode, SMALL)


def product(kind: str, **facets: str) -> WorldProduct:
    return WorldProduct("p", "t", "", "", kind, "", {name: frozenset(value.split()) for name, value in facets.items()})


@pytest.mark.parametrize(
    ("kind", "facets", "grade"),
    [
        ("mouse", {"brand": "acme", "colour": "black", "connection": "wireless"}, 3),
        ("mouse", {"brand": "acme", "colour": "red black", "connection": "wireless"}, 3),
        ("mouse", {"brand": "acme", "colour": "black", "connection": "wired"}, 2),
        ("mouse", {"brand": "acme", "colour": "black"}, 2),
        ("mouse", {"brand": "acme"}, 1),
        ("mouse", {"brand": "globex", "colour": "red"}, 1),
        ("mouse", {}, 1),
        ("keyboard", {"brand": "acme", "colour": "black", "connection": "wireless"}, 0),
    ],
)
def test_relevance_is_how_many_of_the_wanted_attributes_a_product_has(kind, facets, grade):
    wanted = Intent("mouse", (("brand", "acme"), ("colour", "black"), ("connection", "wireless")))
    found = product(kind, **facets)
    assert true_grade(wanted, found.type, found.facets) == grade


def test_half_of_two_attributes_is_grade_2_and_a_bare_type_is_met_by_the_type():
    two = Intent("mouse", (("brand", "acme"), ("colour", "black")))
    assert true_grade(two, "mouse", {"colour": frozenset({"black"})}) == 2
    assert true_grade(Intent("mouse", ()), "mouse", {}) == 3


def test_truth_does_not_look_at_texts():
    wanted = Intent("mouse", (("colour", "black"),))
    liar = replace(product("mouse", colour="red"), title="black mouse black", description="colour: black")
    assert true_grade(wanted, liar.type, liar.facets) == 1


@pytest.mark.parametrize(
    ("title", "attributes", "kind"),
    [
        ("HP Pavilion dv7 Notebook Silver", {}, "notebook"),
        ("Targus notebook case Black", {}, "notebook bag"),
        ("Lenovo ThinkPad battery", {}, "battery"),
        ("Epson T0796", {"ink_type": "Dye-based ink"}, "ink cartridge"),
        ("Canon C-EXV9", {"printing_colours": "Black", "print_technology": "Laser printing"}, "toner cartridge"),
        ("Model 17", {"product_type": "Notebook"}, "notebook"),
        ("Model 17", {}, None),
    ],
)
def test_a_type_is_read_from_the_maker_the_title_or_the_attributes(title, attributes, kind):
    found = type_of(title, attributes)
    assert (found.name if found else None) == kind


def test_facets_have_one_value_per_meaning_whatever_the_unit_or_spelling():
    facets = read_facets("x 10 ft. cable, Gray", "StarTech.com", {"connector_1": "VGA (D-Sub)", "connector_2": "RJ-45"})
    assert facets["length"] == {"3"}
    assert facets["colour"] == {"grey"}
    assert facets["connector"] == {"vga", "rj45"}
    assert "startech" in wordings("brand", "startech.com")
    assert {"3m", "10ft"} <= set(wordings("length", "3"))
    assert shows(" cable 10 ft grey ", "length", "3")
    assert not shows(" cable 110 ft ", "length", "3")
    assert {read_facets("x", "", {"cable_length": text})["length"] for text in ("22.5", "22.875")} == {
        frozenset({"22.86"})
    }
    assert wordings("length", "22.86")[0] == "75ft"
    assert {"15m", "50ft"} <= set(wordings("length", "15"))
    assert not any("f" in words for words in wordings("length", "5"))
    assert wordings("storage", "2000")[0] == "2tb"


def test_a_product_without_type_or_facets_stays_out_and_a_broken_table_is_refused(catalogue, tmp_path):
    products = read_products(catalogue)
    assert len(products) == 108
    assert "connection: wireless" in next(p for p in products if "M1 mouse" in p.title).description
    broken = tmp_path / "broken.csv"
    broken.write_text('product_id,title,brand,colour,short_description,attributes\n1,mouse,a,,,"[1"\n')
    with pytest.raises(TrainingError, match="line 2: attributes: expected a JSON object"):
        read_products(broken)


def test_the_same_seed_makes_the_same_files_and_another_one_does_not(catalogue, world, tmp_path):
    again = make_world(read_products(catalogue), encode, SMALL)
    other = make_world(read_products(catalogue), encode, replace(SMALL, seed=2))
    for folder, made in (("a", world), ("b", again), ("c", other)):
        write_world(made, tmp_path / folder)
    names = [path.name for path in (tmp_path / "a").iterdir()]
    assert {"products.csv", "judged.csv", "queries.csv", "world.json"} == set(names)
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    assert (tmp_path / "a/judged.csv").read_bytes() != (tmp_path / "c/judged.csv").read_bytes()


def test_no_query_says_or_means_a_test_query(world):
    test = {(pair.query, pair.intent) for pair in world.judged if pair.split == "test"}
    others = {(pair.query, pair.intent) for pair in world.judged if pair.split == "train"} | set(world.unlabelled)
    assert (len(test), len(world.unlabelled)) == (15, 60)
    assert not {normalise_query(q) for q, _ in test} & {normalise_query(q) for q, _ in others}
    assert not {intent for _, intent in test} & {intent for _, intent in others}


def test_every_list_is_as_long_as_asked_holds_a_right_product_and_none_twice(world):
    lists: dict[str, list[world_module.Judged]] = {}
    for pair in world.judged:
        lists.setdefault(pair.query, []).append(pair)
    for pairs in lists.values():
        assert len({pair.product.id for pair in pairs}) == len(pairs) == (8 if pairs[0].split == "train" else 10)
        assert any(pair.truth == 3 for pair in pairs)
    assert sum(len({pair.truth for pair in pairs}) > 2 for pairs in lists.values()) > len(lists) / 2


def test_raters_misread_as_often_as_stated_and_agree_on_their_median():
    random = np.random.default_rng(0)
    grades = np.asarray([rate(truth, 0.3, 3, random) for truth in (0, 1, 2, 3) * 1000])
    wrong = grades != np.tile([0, 1, 2, 3], 1000)[:, None]
    assert wrong.mean() == pytest.approx(0.3, abs=0.015)
    assert [agreed(g) for g in ([0, 3, 3], [1, 0, 2], [3, 3, 3], [1, 2])] == [3, 1, 3, 1]
    assert rate(2, 0.0, 3, random) == [2, 2, 2]


def test_only_the_train_split_carries_the_noise(world, tmp_path):
    assert all(pair.grade == pair.truth for pair in world.judged if pair.split == "test")
    assert 0 < facts(world)["raters_wrong_share"] < 0.5
    exact = [pair for pair in world.judged if pair.split == "train" and len(set(pair.ratings)) == 1]
    assert all(pair.grade == pair.ratings[0] for pair in exact)


def test_more_is_visible_where_fewer_hidden_facets_are_asked_for(catalogue):
    products = read_products(catalogue)
    shares = [
        visible_share(make_world(products, encode, replace(SMALL, hidden_share=share, unlabelled_queries=1)))
        for share in (0.0, 1.0)
    ]
    assert shares[0] > 0.85
    assert shares[1] < 0.6


def test_the_ordinary_readers_take_the_files(world, tmp_path):
    write_world(world, tmp_path)
    config = read_config(Path(world_module.__file__).with_name("world.toml"))
    pairs = read_all_judgements(tmp_path, config.data)
    assert len(pairs) == 12 * 8 + 15 * 10
    assert all(pair.product["title"] and pair.product["product_type"] for pair in pairs)
    assert not any(field.name == "description" for field in config.student.template.fields)


def test_a_catalogue_that_is_too_small_is_refused(catalogue):
    with pytest.raises(TrainingError, match="fewer than 300 different queries"):
        make_world(
            read_products(catalogue)[:1],
            encode,
            replace(SMALL, test_queries=1, train_queries=1, unlabelled_queries=300),
        )
    with pytest.raises(TrainingError, match="the catalogue has none"):
        make_world([], encode, SMALL)

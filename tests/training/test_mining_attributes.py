"""Attributes are read from fields and titles; products that differ in one of them are near misses of each other."""

import numpy as np
import pytest

from training.mining.attributes import attributes_of, colours_of, type_of
from training.mining.disagreement import disagreement
from training.mining.near_misses import MISSES, NearMisses
from training.mining.products import Products, digest


@pytest.mark.parametrize(
    ("title", "sizes"),
    [
        ("Acme USB stick 16 GB", ("16 gb",)),
        ("Acme USB stick 16GB", ("16 gb",)),
        ('Acme monitor 27"', ('27 "',)),
        ("Acme monitor 27-inch", ('27 "',)),
        ("Acme monitor 27in", ('27 "',)),
        ("Acme roll (24 in x 50 ft)", ('24 "', "50 ft")),
        ("Acme watch, 42 mm", ("42 mm",)),
        ("Acme socks, pack of 3", ("3 pack",)),
        ("Acme socks 3-pack", ("3 pack",)),
        ("Acme ink 6 pc(s)", ("6 pack",)),
        ("Acme cable 1,5 m", ("1.5 m",)),
        ("Acme tea 250g", ("250 g",)),
        ("Acme shirt size XL", ("size xl",)),
        ("Acme 3 in 1 printer", ()),
        ("Acme 5G phone", ()),
    ],
)
def test_sizes_have_one_spelling(title, sizes):
    assert attributes_of({"title": title, "brand": "Acme"}).sizes == sizes


@pytest.mark.parametrize(
    ("title", "models"),
    [
        ("Acme MX-500 mouse", ("mx500",)),
        ("Acme mouse MX500", ("mx500",)),
        ("Acme A1524 phone", ("a1524",)),
        ("Acme Deskjet 3820", ("3820",)),
        ("Acme USB3 hub, 4-port", ()),
        ("Acme Cat5e cable 802.11ac 1080p DDR4-SDRAM", ()),
        ("Acme stick 16GB", ()),
    ],
)
def test_model_numbers_are_told_from_sizes_and_standards(title, models):
    assert attributes_of({"title": title, "brand": "Acme"}).models == models


def test_the_colour_field_outranks_the_title():
    assert attributes_of({"title": "Acme red mouse", "color": "Black/Gray"}).colours == ("black", "grey")
    assert attributes_of({"title": "Acme gray mouse"}).colours == ("grey",)
    assert colours_of("Light Blue, White and Red") == {"light blue", "white", "red"}


def test_the_type_is_the_last_step_of_a_category_path():
    assert type_of({"product_type": "Electronics > Computers > Laptops"}) == "laptop"
    assert type_of({"product_type": "laptop"}) == "laptop"
    assert type_of({"title": "laptop"}) == ""


def test_a_brand_that_no_field_names_is_read_from_the_start_of_the_title():
    assert attributes_of({"title": "Tripp Lite cable"}, {"tripp lite"}).brand == "tripp lite"
    assert attributes_of({"title": "cable by Tripp Lite"}, {"tripp lite"}).brand == ""


MATCH = {"title": "Acme MX-500 mouse 2 m black", "brand": "Acme", "product_type": "Mice"}
CATALOGUE = [
    MATCH,
    {"title": "Globex MX-500 mouse 2 m black", "brand": "Globex", "product_type": "Mice"},
    {"title": "Acme MX-500 mouse 2 m white", "brand": "Acme", "product_type": "Mice"},
    {"title": "Acme MX-500 mouse 3 m black", "brand": "Acme", "product_type": "Mice"},
    {"title": "Acme MX-900 mouse 2 m black", "brand": "Acme", "product_type": "Mice"},
    {"title": "Acme MX-900 mouse 2 m white", "brand": "Acme", "product_type": "Mice"},
    {"title": "Acme MX-500 keyboard 2 m black", "brand": "Acme", "product_type": "Keyboards"},
    {"title": "Acme MX-500 mouse 2 m", "brand": "Acme", "product_type": "Mice"},
]


@pytest.mark.parametrize("with_type", [True, False])
def test_a_near_miss_differs_in_exactly_one_attribute(with_type):
    rows = CATALOGUE if with_type else [{k: v for k, v in p.items() if k != "product_type"} for p in CATALOGUE]
    index = NearMisses(attributes_of(product) for product in rows)
    assert {miss: index.of(0, miss).tolist() for miss in MISSES} == {
        "brand": [1],
        "color": [2],
        "size": [3],
        "model": [4],
    }
    assert index.of(7, "color").tolist() == []


def test_near_misses_come_in_turn_and_the_nearest_of_an_attribute_first():
    more = [*CATALOGUE, {"title": "Acme MX-500 mouse 2 m red", "brand": "Acme", "product_type": "Mice"}]
    index = NearMisses(attributes_of(product) for product in more)
    vectors = np.tile(np.array([0.0, 1.0], np.float16), (len(more), 1))
    vectors[0] = vectors[8] = [1.0, 0.0]
    ranked = list(index.ranked([0], vectors, np.random.default_rng(1)))
    assert sorted(ranked[:4]) == [(1, "brand"), (3, "size"), (4, "model"), (8, "color")]
    assert ranked[4:] == [(2, "color")]
    assert ranked == list(index.ranked([0], vectors, np.random.default_rng(1)))


def test_disagreement_is_high_in_one_ranking_and_low_or_absent_in_the_other():
    words, vectors = [1, 2, 3, 4, 5], [5, 6, 1, 7, 2]
    assert list(disagreement(words, vectors, top=2, beyond=4)) == [(2, "words"), (5, "vectors"), (6, "vectors")]
    assert list(disagreement(words, vectors, top=2, beyond=5)) == [(6, "vectors")]
    assert list(disagreement([], vectors, top=1, beyond=5)) == [(5, "vectors")]
    assert list(disagreement(words, words, top=5, beyond=5)) == []


def test_products_are_held_once_and_only_with_a_title():
    rows = [{"title": "Red Mouse", "color": "red"}, {"title": "red  mouse", "color": "Red", "description": "x"}]
    products = Products([*rows, {"brand": "no title"}, {"title": "Red Mouse", "color": "blue"}])
    assert products.take([1, 0]) == [{"title": "Red Mouse", "color": "blue"}, rows[0]]
    assert [len(batch) for batch in products.batches(1)] == [1, 1]
    assert len(Products([])) == 0


def test_a_digest_is_the_same_in_every_process():
    assert digest("Red  Mouse") == digest("red mouse") == 726441746250155380

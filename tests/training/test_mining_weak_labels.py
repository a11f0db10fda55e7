"""Weak labels: queries made from attributes, graded by how many of them a product has."""

from itertools import product as every

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import WeakLabels, read_config
from training.data import loose_key, normalise_query, read_all_judgements
from training.errors import TrainingError
from training.mining import weak_labels, weak_pairs
from training.mining.attributes import attributes_of
from training.mining.products import Products
from training.mining.wishes import Wish, agreeing, draw_wish, write_wish
from training.runs import open_run

ACME = {
    "title": "Acme wireless mouse 2 m black",
    "brand": "Acme",
    "product_type": "Computers > Mice",
    "description": "Silent optical sensors",
}
ACME_TYPE = "mice"


def products(kinds=("mouse", "lamp", "tripod"), brands=("acme", "globex"), colours=("black", "red")):
    return [
        {"title": f"{b} {k} {size} {c}", "brand": b, "color": c, "product_type": k}
        for k, b, c, size in every(kinds, brands, colours, ("2 m", "3 m"))
    ]


@pytest.mark.parametrize(
    ("wish", "product", "count"),
    [
        (Wish(ACME_TYPE), ACME, 1),
        (Wish(ACME_TYPE, brand="acme"), ACME, 2),
        (Wish(ACME_TYPE, brand="globex"), ACME, 1),
        (Wish("lamp", brand="acme", colour="black"), ACME, 0),
        (Wish(ACME_TYPE, brand="acme", colour="red", size="2 m"), ACME, 3),
        (Wish(ACME_TYPE, size="3 m"), ACME, 1),
        (Wish(ACME_TYPE, size="16 gb"), ACME, None),
        (Wish(ACME_TYPE, feature="sensor"), ACME, 2),
        (Wish(ACME_TYPE, feature="wired"), ACME, 1),
        (Wish(ACME_TYPE, brand="acme"), {"title": "mouse", "product_type": "mice"}, None),
        (Wish(ACME_TYPE, colour="red"), {"title": "mouse", "product_type": "mice"}, None),
        (Wish(ACME_TYPE, colour="red"), {"title": "mouse", "product_type": "mice", "color": "Blue/Red"}, 2),
        (Wish("lamp", colour="red"), {"title": "mouse", "product_type": "mice"}, 0),
    ],
)
def test_a_product_agrees_with_what_it_says_and_is_left_out_where_it_says_nothing(wish, product, count):
    assert agreeing(wish, attributes_of(product), product) == count


def test_a_wish_is_met_in_full_by_the_product_that_it_is_drawn_from():
    asked = set()
    own = attributes_of(ACME)
    for seed in range(60):
        wish = draw_wish(own, lambda word: word == "wireless", np.random.default_rng(seed))
        assert agreeing(wish, own, ACME) == wish.asked
        asked |= {name for name in ("brand", "colour", "size", "feature") if getattr(wish, name)}
    assert asked == {"brand", "colour", "size", "feature"}


def test_a_wish_is_written_in_varying_order_and_spelling():
    wish = Wish("mouse", brand="acme", size="3 pack")
    texts = {write_wish(wish, np.random.default_rng(seed)) for seed in range(80)}
    assert {"acme 3 pack mouse", "acme pack of 3 mouse", "3 pack acme mouse"} <= texts
    assert any(not text.endswith("mouse") for text in texts)
    assert {normalise_query(text) for text in texts} == {"3 acme mouse pack", "3 acme mouse of pack"}


def test_grades_are_the_share_of_the_attributes_that_agree():
    pairs = list(weak_labels(Products(products()), WeakLabels(pool="shop", queries=40, candidates=10), 1))
    assert {pair.split for pair in pairs} == {"train"}
    assert {pair.source for pair in pairs} == {"weak:attributes"}
    assert {0.0, 0.5, 1.0} <= {pair.target for pair in pairs}
    checked = 0
    for pair in pairs:
        title = set(pair.product["title"].split())
        asked = pair.query.replace("2m", "2 m").replace("3m", "3 m").split()
        lengths = {word for word in asked if word in ("2", "3")}
        words = [word for word in asked if word not in ("2", "3", "m")]
        has = [word in title for word in words] + [length in title for length in lengths]
        wrong_type = pair.product["product_type"] not in words
        assert pair.target == (0 if wrong_type else sum(has) / len(has)), (pair.query, pair.product["title"])
        checked += 1
    assert checked > 200


def test_a_query_stands_once_with_its_source_first_and_near_misses_among_its_products():
    pairs = list(weak_labels(Products(products()), WeakLabels(pool="shop", queries=30, candidates=8), 2))
    by_query = {}
    for pair in pairs:
        by_query.setdefault(pair.query, []).append(pair)
    assert len({loose_key(query) for query in by_query}) == len(by_query)
    for of_query in by_query.values():
        titles = [pair.product["title"] for pair in of_query]
        assert len(set(titles)) == len(titles) <= 8
        assert of_query[0].target == 1
        source = set(titles[0].split())
        # titles have four words and an `m`: a near miss shares all but one of them
        assert any(len(source & set(title.split())) == 4 for title in titles[1:])


@given(st.integers(0, 2**31))
@settings(max_examples=5, deadline=None)
def test_the_same_seed_gives_the_same_pairs(seed):
    catalogue, wanted = Products(products()), WeakLabels(pool="shop", queries=10, candidates=6)
    first = list(weak_labels(catalogue, wanted, seed))
    assert list(weak_labels(Products(products()), wanted, seed)) == first
    assert list(weak_labels(catalogue, wanted, seed + 1)) != first


def test_test_queries_are_not_made():
    catalogue, wanted = Products(products()), WeakLabels(pool="shop", queries=1000, candidates=4)
    made = {loose_key(pair.query) for pair in weak_labels(catalogue, wanted, 1)}
    excluded = set(sorted(made)[::3])
    again = {loose_key(pair.query) for pair in weak_labels(catalogue, wanted, 1, excluded)}
    assert excluded
    assert again
    assert not again & excluded
    bare = Products([{"title": "lamp", "product_type": "lamp"}, {"title": "desk", "product_type": "desk"}])
    assert {pair.query for pair in weak_labels(bare, wanted, 1)} == {"lamp", "desk"}
    with pytest.raises(TrainingError, match="no query can be made"):
        next(weak_labels(bare, wanted, 1, {loose_key("lamps"), loose_key("desk")}))


def test_a_catalogue_without_types_is_refused_with_what_to_map():
    wanted = WeakLabels(pool="shop")
    for rows in ([{"title": "acme mouse"}], products(kinds=("mouse",)), [{"title": "x", "product_type": "17"}]):
        with pytest.raises(TrainingError, match=r"two or more types, found [01]; map the column"):
            next(weak_labels(Products(rows), wanted, 1))


def test_the_pairs_of_a_run_follow_its_configuration(config_file, data_folder, tmp_path):
    text = config_file.read_text()
    plain = open_run(tmp_path / "plain", read_config(config_file), data_folder)
    with pytest.raises(TrainingError, match=r"no section \[mining\.weak_labels\]"):
        next(weak_pairs(plain))
    text = text.replace(
        "[teacher]\n", '[mining.weak_labels]\npool = "shop"\nqueries = 12\ncandidates = 5\n[teacher]\n', 1
    )
    config_file.write_text(text.replace('color = "shade"', 'color = "shade", product_type = "name"'))
    run = open_run(tmp_path / "run", read_config(config_file), data_folder)
    pairs = list(weak_pairs(run))
    assert len({pair.query for pair in pairs}) == 12
    test = {loose_key(p.query) for p in read_all_judgements(run.data, run.config.data) if p.split == "test"}
    assert not test & {loose_key(pair.query) for pair in pairs}

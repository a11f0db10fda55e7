"""How a request is prepared: the query once, products as they come, nobody waiting for anybody."""

import itertools

import pytest

from service.cost import CostModel
from service.engine import Fresh, Outlook
from service.job import Job
from service.preparation import RECALL_PRODUCTS, Preparation

from .serving import FakeEngine


class Recalling(FakeEngine):
    """Has the states of some titles; the others are to be encoded."""

    def __init__(self, known=()):
        self.known = set(known)
        self.queries = []
        self.recalled = []
        self.encoded = []

    def prepare_query(self, query):
        self.queries.append(query)
        return query

    def recall_products(self, products):
        titles = [product["title"] for product in products]
        self.recalled.append(titles)
        return [title if title in self.known else Fresh(8, title, title) for title in titles]

    def encode_products(self, products):
        self.encoded.append([product.work for product in products])
        return self.encoded[-1]


class AtOnce:
    """Lanes so fast that work is done before its sender goes on."""

    count = 2

    def __init__(self):
        self.taken = []

    def add(self, units):
        self.taken += units
        for unit in units:
            unit.run([unit])


class Later(AtOnce):
    """Lanes that get to it when a test says so."""

    def add(self, units):
        self.taken += units


def prepared(engine, titles, *, at_hand=(), partial=False, lanes=None, order=lambda units: units):
    """What is handed on: lists of (positions, query, states)."""
    handed = []
    job = Job("q", titles, deadline=9.0, partial=partial, request_id="r", submitted=0.0, on_finish=lambda: None)
    states = [title if title in at_hand else None for title in titles]
    lanes = lanes or AtOnce()
    preparation = Preparation(
        job,
        [{"title": title} for title in titles],
        Outlook(8.0, states, fresh_share=1.0, fresh_tokens=8.0, query_tokens=4.0),
        engine,
        CostModel(),
        lambda: 1.0,
        lanes=lanes,
        encode_tokens=32,
        counted=True,
        on_prepared=lambda positions, query, states: handed.append((list(positions), query, list(states))),
    )
    for unit in order(preparation.units()):
        unit.run([unit])
    if isinstance(lanes, Later):
        for unit in order(lanes.taken):
            unit.run([unit])
    return handed


TITLES = [str(i) for i in range(150)]
KNOWN = TITLES[::3]
WHOLE = [(list(range(150)), "q", TITLES)]


@pytest.mark.parametrize("lanes", [AtOnce, Later])
@pytest.mark.parametrize("order", [list, lambda units: units[::-1]], ids=["in order", "reversed"])
@pytest.mark.parametrize("at_hand", [(), KNOWN, TITLES])
def test_a_whole_request_is_handed_on_once_with_every_state(lanes, order, at_hand):
    engine = Recalling(KNOWN)
    assert prepared(engine, TITLES, at_hand=at_hand, lanes=lanes(), order=order) == WHOLE
    assert engine.queries == ["q"]


@pytest.mark.parametrize("lanes", [AtOnce, Later])
@pytest.mark.parametrize("at_hand", [(), KNOWN, TITLES])
def test_a_partial_request_is_handed_on_in_parts_each_product_once(lanes, at_hand):
    engine = Recalling(KNOWN)
    handed = prepared(engine, TITLES, at_hand=at_hand, partial=True, lanes=lanes())
    assert len(handed) > 4
    assert all(positions == sorted(positions) for positions, _, _ in handed)
    assert all([TITLES[i] for i in positions] == states for positions, _, states in handed)
    everywhere = itertools.chain.from_iterable(positions for positions, _, _ in handed)
    assert sorted(everywhere) == list(range(150))
    assert engine.queries == ["q"]


def test_what_is_at_hand_is_not_looked_up_again():
    engine = Recalling(TITLES)
    prepared(engine, TITLES, at_hand=KNOWN)
    assert set(itertools.chain.from_iterable(engine.recalled)) == set(TITLES) - set(KNOWN)
    assert max(map(len, engine.recalled)) <= RECALL_PRODUCTS
    assert engine.encoded == []


def test_encoding_comes_in_micro_batches_within_the_budget():
    engine = Recalling()
    prepared(engine, TITLES)
    assert sum(map(len, engine.encoded)) == len(TITLES)
    assert max(map(len, engine.encoded)) == 4


def test_encoding_for_a_partial_request_ranks_by_its_products():
    lanes = Later()
    prepared(Recalling(), TITLES[:32], partial=True, lanes=lanes)
    assert [unit.rank for unit in lanes.taken] == list(range(0, 32, 4))


@pytest.mark.parametrize("lanes", [AtOnce, Later])
@pytest.mark.parametrize("partial", [False, True])
def test_a_product_that_is_there_twice_is_encoded_once(lanes, partial):
    titles = ["a", "b", "a", "c", "a", "b"]
    engine = Recalling()
    handed = prepared(engine, titles, partial=partial, lanes=lanes())
    assert sorted(itertools.chain.from_iterable(engine.encoded)) == ["a", "b", "c"]
    found = {i: state for positions, _, states in handed for i, state in zip(positions, states, strict=True)}
    assert [found[i] for i in range(6)] == titles

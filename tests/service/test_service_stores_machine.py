"""What is kept of products, in memory and in a states file, against a plain dictionary."""

from collections import OrderedDict

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from artifact import InputTemplate, TemplateField
from artifact.product_states import ProductState, state_key
from service.lru import BoundedLru
from service.metrics import Metrics
from service.state_cache import entry_bytes
from service.state_store import StateStore

KEYS = st.lists(st.integers(0, 30), max_size=8)
SIZES = {key: 5 + key * 7 % 23 for key in range(31)}
MAX_BYTES, LEAST_ENTRIES = 200, 8


class LruMachine(RuleBasedStateMachine):
    """Keys are numbers; the value of a key says when it was put."""

    def __init__(self):
        super().__init__()
        self.cache = BoundedLru(MAX_BYTES, lambda key, _: SIZES[key], LEAST_ENTRIES)
        self.model = OrderedDict()
        self.puts = 0

    @rule(keys=KEYS)
    def put(self, keys):
        self.puts += 1
        self.cache.put_many(keys, [(key, self.puts) for key in keys])
        for key in keys:
            if key not in self.model and SIZES[key] <= MAX_BYTES // LEAST_ENTRIES:
                self.model[key] = (key, self.puts)
        while sum(map(SIZES.__getitem__, self.model)) > MAX_BYTES:
            self.model.popitem(last=False)

    @rule(keys=KEYS)
    def get(self, keys):
        assert self.cache.get_many(keys) == [self.model.get(key) for key in keys]
        for key in keys:
            if key in self.model:
                self.model.move_to_end(key)

    @rule()
    def clear(self):
        self.cache.clear()
        self.model.clear()

    @invariant()
    def it_knows_its_size(self):
        assert len(self.cache) == len(self.model)
        assert self.cache.bytes_used == sum(map(SIZES.__getitem__, self.model)) <= MAX_BYTES


TestLru = LruMachine.TestCase

TEMPLATE = InputTemplate(
    fields=(TemplateField(name="title", max_tokens=4), TemplateField(name="brand", max_tokens=2, omit_if_in="title")),
    max_query_tokens=3,
    max_tokens=12,
)
VERSION = "0123456789abcdef"
# Some read alike to the model, and some only look so.
PRODUCTS = st.lists(
    st.sampled_from(
        [
            {"title": "usb"},
            {"title": "usb "},
            {"title": "USB"},
            {"title": "usb", "brand": None},
            {"title": "usb lamp", "brand": "Lamp"},
            {"title": "usb", "brand": "lamp"},
            {"title": "\ud800", "brand": "é"},
            {"title": "a" * 100},
        ]
    ),
    min_size=1,
    max_size=6,
)


def state_of(product):
    """That of what the model reads of a product, and of nothing else."""
    seed = int.from_bytes(state_key(VERSION, TEMPLATE, product)[:4], "big")
    numbers = np.random.default_rng(seed).integers(0, 256, 12).astype(np.uint8)
    return ProductState(numbers[:8].reshape(2, 4), np.ones(2, np.float32), numbers[8:], float(seed))


def same(one, other):
    return one.pooled_scale == other.pooled_scale and np.array_equal(one.tokens, other.tokens)


class File:
    """A states file, in memory: what it gives are views that do not outlive it."""

    path = "states"
    corrupted = 0

    def __init__(self):
        self.states = {}

    def get_many(self, keys):
        return [self.states.get(key) for key in keys]


class StoreMachine(RuleBasedStateMachine):
    @initialize(entries=st.sampled_from([0, 3, 1000]), file=st.booleans())
    def begin(self, entries, file):
        size = entry_bytes(("a" * 100, "a" * 100), state_of({"title": "usb"}))
        self.max_bytes = entries * 10 * size
        self.store = StateStore(VERSION, TEMPLATE, self.max_bytes, Metrics())
        self.file = File() if file else None
        if self.file is not None:
            self.store.read_from(self.file)

    @rule(products=PRODUCTS)
    def a_request_finds_or_encodes(self, products):
        keys = self.store.keys(products)
        found = self.store.find(keys, products)
        for product, state in zip(products, found, strict=True):
            assert state is None or same(state, state_of(product)), "another product's state"
            if self.file is not None and state_key(VERSION, TEMPLATE, product) in self.file.states:
                assert state is not None, "what is in the file was not found"
        fresh = [i for i, state in enumerate(found) if state is None]
        own = [state_of(products[i]) for i in fresh]
        used = self.store.keep([keys[i] for i in fresh], own)
        assert all(same(one, other) for one, other in zip(used, own, strict=True))
        if self.max_bytes:
            again = self.store.in_memory([keys[i] for i in fresh])
            assert all(state is kept for state, kept in zip(used, again, strict=True))

    @precondition(lambda self: self.file is not None)
    @rule(products=PRODUCTS)
    def the_file_gets_products(self, products):
        for product in products:
            self.file.states[state_key(VERSION, TEMPLATE, product)] = state_of(product)

    @precondition(lambda self: self.file is not None)
    @rule(products=PRODUCTS)
    def the_file_loses_products(self, products):
        for product in products:
            lost = self.file.states.pop(state_key(VERSION, TEMPLATE, product), None)
            if lost is not None:
                lost.tokens[:] = 0

    @rule(products=PRODUCTS)
    def admission_asks_what_is_fresh(self, products):
        assert 0.0 <= self.store.expected_fresh_share(products) <= 1.0

    @rule()
    def memory_is_short(self):
        self.store.clear()
        assert self.store.kept().products == 0

    @invariant()
    def memory_is_bounded(self):
        if hasattr(self, "store"):
            assert self.store.kept().bytes <= self.max_bytes


TestStore = StoreMachine.TestCase

"""A split model in ONNX Runtime: products encoded once and kept, a query once per request, and a graph that joins them.

What the graphs take and give stands in docs/split.md.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact, Product, Variant
from artifact.gather import Gather
from artifact.product_states import ProductState, states_of_batch, states_version
from artifact.states_file import StatesFile
from artifact.tokenisation import TokenIds

from .engine import Fresh, Kept, Outlook
from .guess import guess_product_tokens, guess_query_tokens, sample
from .metrics import Metrics
from .planner import plan
from .sessions import Feeds, Graph
from .state_cache import Key
from .state_store import StateStore

OUTPUT = "logits"
STATE_OUTPUTS = ("tokens", "scales", "pooled", "pooled_scales")
STATES = "states"
"""What products' encoder gives of a query, and the graph of the query reads, where both sides share an encoder."""

STATE_TYPES = {"int8": "tensor(uint8)", "fp32": "tensor(float)"}
STATE_DTYPES: dict[str, type[np.generic]] = {"int8": np.uint8, "fp32": np.float32}
FLOAT = ("tensor(float)",)
TEXT_INPUTS = dict.fromkeys(("input_ids", "attention_mask"), ("tensor(int64)",))


@dataclass(frozen=True, slots=True, eq=False)
class QueryState:
    """What the query encoder gave: fed to the interaction as it is. Of one request, and equal to itself alone."""

    feeds: Feeds


class EncodingWork(NamedTuple):
    """Of a product that has to be encoded: the key of its state in memory, its token ids."""

    key: Key
    ids: TokenIds


class SplitEngine:
    """Runs the three graphs of a split model, each one shared session, from any number of threads.

    Args:
        artifact: verified, of architecture `split`.
        variant: one of its variants.
        state_cache_bytes: bound of the product states in memory; 0 for none.
        encode_tokens: most padded tokens of a run of the product encoder, where `prepare_products` cuts them.
        metrics: told where states came from, and of the product encoder's runs.

    Raises:
        EngineError: the device is not there, or a graph has other inputs or outputs than it should.
    """

    one_query_per_run = True

    def __init__(
        self, artifact: Artifact, variant: Variant, state_cache_bytes: int, encode_tokens: int, metrics: Metrics
    ) -> None:
        layout = variant.states
        assert variant.product_encoder is not None
        assert variant.query_encoder is not None
        assert layout is not None
        self._tokenizer = artifact.tokenizer
        self._template = template = artifact.manifest.template
        self._special_tokens = self._tokenizer.alone_length(0)
        self._encode_tokens = encode_tokens
        self._store = StateStore(states_version(artifact.manifest, variant), template, state_cache_bytes, metrics)
        folder, device = artifact.folder, variant.device
        self._query_encoder = Graph(folder / variant.query_encoder.file, device)
        self._shares_encoder = STATES in self._query_encoder.inputs
        known = (*STATE_OUTPUTS, STATES) if self._shares_encoder else STATE_OUTPUTS
        self._product_encoder = Graph(folder / variant.product_encoder.file, device, known)
        self._interaction = Graph(folder / variant.file, device, [OUTPUT])
        self._product_encoder.check_inputs(TEXT_INPUTS)
        self._query_encoder.check_inputs({STATES: FLOAT} if self._shares_encoder else TEXT_INPUTS)
        states = (STATE_TYPES[layout.precision],)
        self._interaction.check_inputs(
            {
                **dict.fromkeys(self._query_encoder.outputs, FLOAT),
                "tokens": states,
                "pooled": states,
                "scales": FLOAT,
                "pooled_scales": FLOAT,
                "lengths": ("tensor(int64)",),
            }
        )
        self._gather = Gather(template.max_tokens, layout.width, STATE_DTYPES[layout.precision])
        self._fresh = metrics.product_states.labels("fresh")
        self._encoding = metrics.product_encoding

    def read_from(self, file: StatesFile) -> None:
        """Looks for states in this file too, from here on, and closes it when the engine goes."""
        self._store.read_from(file)
        weakref.finalize(self, file.close)

    def outlook(self, query: str, products: Sequence[Product]) -> Outlook:
        """States are those in memory. Whether the others are in the states file is looked up for a few of them alone.

        All would take about 10 microseconds each, on the event loop. The share that is to be encoded is right on
        average over requests, and for a single one as right as those few can tell.
        """
        states = self._store.in_memory(self._store.keys(products))
        template = self._template
        some = range(0, len(products), -(-len(products) // 16))
        tokens = sum(
            len(state.tokens) if (state := states[i]) is not None else guess_product_tokens(template, products[i])
            for i in some
        ) / len(some)
        unknown = [product for product, state in zip(products, states, strict=True) if state is None]
        fresh_tokens = 0.0
        if unknown:
            asked = sample(unknown)
            fresh_tokens = sum(guess_product_tokens(template, product) for product in asked) / len(asked)
        return Outlook(
            max(1.0, tokens),
            states,
            fresh_share=self._store.expected_fresh_share(unknown),
            fresh_tokens=fresh_tokens + self._special_tokens,
            query_tokens=guess_query_tokens(template, query) + self._special_tokens,
        )

    def prepare_query(self, query: str) -> QueryState:
        """One run of the query encoder; where it reads states, which products' encoder gives, one of that before it."""
        texts = self._tokenizer.collate_alone([self._tokenizer.encode_query(query)]).feeds()
        feeds: Feeds = texts
        if self._shares_encoder:
            feeds = {STATES: self._product_encoder(texts, (STATES,))[0]}
        outputs = self._query_encoder(feeds)
        return QueryState(dict(zip(self._query_encoder.outputs, outputs, strict=True)))

    def recall_products(self, products: Sequence[Product]) -> list[ProductState | Fresh]:
        """States from memory or the states file; the others' token ids."""
        keys = self._store.keys(products)
        found: list[Any] = self._store.find(keys, products)
        missing = [i for i, state in enumerate(found) if state is None]
        if missing:
            encoded = self._tokenizer.encode_products([products[i] for i in missing])
            for i, ids in zip(missing, encoded, strict=True):
                found[i] = Fresh(self._tokenizer.alone_length(len(ids)), EncodingWork(keys[i], ids), keys[i])
        return found

    def encode_products(self, products: Sequence[Fresh]) -> Sequence[ProductState]:
        """One run of the product encoder. Its states are kept; of products that were encoded meanwhile, those are."""
        started = perf_counter()
        texts = self._tokenizer.collate_alone([product.work.ids for product in products]).feeds()
        tokens, scales, pooled, pooled_scales = self._product_encoder(texts, STATE_OUTPUTS)
        self._encoding.observe(perf_counter() - started)
        lengths = [product.tokens for product in products]
        states = states_of_batch(tokens, scales, pooled, pooled_scales, lengths)
        self._fresh.inc(len(states))
        return self._store.keep([product.work.key for product in products], states)

    def prepare_products(self, products: Sequence[Product]) -> list[ProductState]:
        """The state of each product, encoded here where it is in neither memory nor file."""
        found = self.recall_products(products)
        fresh = [(i, product) for i, product in enumerate(found) if isinstance(product, Fresh)]
        states: list[Any] = found
        for batch in plan([product.tokens for _, product in fresh], self._encode_tokens):
            taken = [fresh[i] for i in batch.indices]
            for (i, _), state in zip(taken, self.encode_products([product for _, product in taken]), strict=True):
                states[i] = state
        return states

    def pair_tokens(self, query: QueryState, product: ProductState) -> int:  # noqa: ARG002
        """The product's tokens: the query's few are in every pair of a run."""
        return len(product.tokens)

    def kept(self) -> Kept:
        """States in memory."""
        return self._store.kept()

    def forget(self) -> None:
        """Drops the states in memory; a states file stays."""
        self._store.clear()

    def score_pairs(self, pairs: Sequence[tuple[QueryState, ProductState]]) -> NDArray[np.float32]:
        """One run of the interaction for each query, over its products, padded to the longest."""
        first = pairs[0][0]
        if all(query is first for query, _ in pairs):
            return self._score(first, [product for _, product in pairs])
        logits = np.empty(len(pairs), dtype=np.float32)
        positions: dict[QueryState, list[int]] = {}
        for i, (query, _) in enumerate(pairs):
            positions.setdefault(query, []).append(i)
        for query, own in positions.items():
            logits[own] = self._score(query, [pairs[i][1] for i in own])
        return logits

    def _score(self, query: QueryState, products: Sequence[ProductState]) -> NDArray[np.float32]:
        (logits,) = self._interaction({**query.feeds, **self._gather(products)})
        return np.asarray(logits, dtype=np.float32).reshape(len(products))

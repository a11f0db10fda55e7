"""A cross-encoder in ONNX Runtime, behind the engine's contract."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact, Product, Variant

from .engine import Fresh, Kept, Outlook
from .guess import guess_product_tokens, guess_query_tokens, sample
from .metrics import Metrics
from .sessions import DTYPES, Graph
from .token_cache import TokenCache, TokenIds

OUTPUT = "logits"
INTEGERS = ("tensor(int64)", "tensor(int32)")
INPUTS = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), INTEGERS)


class OnnxEngine:
    """Tokenises with the artifact's tokenizer and runs one shared session from any number of threads.

    Args:
        artifact: verified.
        variant: one of its variants.
        token_cache_bytes: bound of the cache of product token ids; 0 for none.
        metrics: told of cache hits and misses.

    Raises:
        EngineError: the device is not there, or the graph has other inputs or outputs than it should.
    """

    one_query_per_run = False

    def __init__(self, artifact: Artifact, variant: Variant, token_cache_bytes: int, metrics: Metrics) -> None:
        self._tokenizer = artifact.tokenizer
        self._template = artifact.manifest.template
        self._fields = tuple(field.name for field in self._template.fields)
        self._cache = TokenCache(token_cache_bytes) if token_cache_bytes else None
        self._hits, self._misses = (metrics.cache_lookups.labels("token", result) for result in ("hit", "miss"))
        self._graph = Graph(artifact.variant_path(variant.name), variant.device, [OUTPUT])
        self._graph.check_inputs(INPUTS)
        self._inputs = {name: DTYPES[kind] for name, kind in self._graph.inputs.items()}

    def outlook(self, query: str, products: Sequence[Product]) -> Outlook:
        """By the characters of a sample of products."""
        template = self._template
        some = sample(products)
        tokens = sum(guess_product_tokens(template, product) for product in some) / len(some)
        whole = tokens + guess_query_tokens(template, query) + template.pair_format.special_tokens
        return Outlook(min(whole, template.max_tokens))

    def prepare_query(self, query: str) -> TokenIds:
        """Token ids of the query."""
        return self._tokenizer.encode_query(query)

    def recall_products(self, products: Sequence[Product]) -> Sequence[TokenIds]:
        """As `prepare_products`: tokenising is all that there is to be done."""
        return self.prepare_products(products)

    def encode_products(self, products: Sequence[Fresh]) -> Sequence[TokenIds]:
        """See Engine: `recall_products` leaves none.

        Raises:
            ValueError: there are some.
        """
        if products:
            raise ValueError("a cross-encoder has nothing of a product to encode")
        return ()

    def prepare_products(self, products: Sequence[Product]) -> Sequence[TokenIds]:
        """Token ids of each product, from the cache where they are in it."""
        if self._cache is None:
            return self._tokenizer.encode_products(products)
        keys = [tuple(map(product.get, self._fields)) for product in products]
        found = self._cache.get_many(keys)
        missing = [i for i, ids in enumerate(found) if ids is None]
        self._hits.inc(len(found) - len(missing))
        if not missing:
            return [ids for ids in found if ids is not None]
        self._misses.inc(len(missing))
        encoded = self._tokenizer.encode_products([products[i] for i in missing])
        self._cache.put_many([keys[i] for i in missing], encoded)
        fresh = iter(encoded)
        return [ids if ids is not None else next(fresh) for ids in found]

    def kept(self) -> Kept:
        """The token cache."""
        if self._cache is None:
            return Kept(0, 0, "token")
        return Kept(len(self._cache), self._cache.bytes_used, "token", self._cache.max_bytes)

    def forget(self) -> None:
        """Empties the token cache."""
        if self._cache is not None:
            self._cache.clear()

    def pair_tokens(self, query: TokenIds, product: TokenIds) -> int:
        """Length of the pair in tokens, special ones included."""
        return self._tokenizer.pair_length(len(query), len(product))

    def score_pairs(self, pairs: Sequence[tuple[TokenIds, TokenIds]]) -> NDArray[np.float32]:
        """One run of the graph over the pairs, padded to the longest."""
        arrays = self._tokenizer.collate(pairs).feeds()
        feeds = {name: arrays[name].astype(dtype, copy=False) for name, dtype in self._inputs.items()}
        (logits,) = self._graph(feeds)
        return np.asarray(logits, dtype=np.float32).reshape(len(pairs))

"""A cross-encoder in ONNX Runtime, behind the engine's contract."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifact import Artifact, ArtifactError, Manifest, Product, Variant

from .metrics import Metrics
from .token_cache import TokenCache, TokenIds

PREFERENCE: dict[str, tuple[str, ...]] = {"cpu": ("int8", "fp32"), "cuda": ("fp16", "fp32")}
"""Device -> precisions, fastest first."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "cpu": {},
    # Mixed precision: statistics of normalisation (older versions need telling), and the fp32 head's products, in fp32.
    "cuda": {"enable_skip_layer_norm_strict_mode": "1", "use_tf32": "0"},
}
DTYPES: dict[str, type[np.int64] | type[np.int32]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
OUTPUT = "logits"

GUESS_PRODUCTS = 16
"""Products of a request by whose characters the length of its pairs is guessed."""

CHARS_PER_TOKEN = 4.0
"""Of product titles, about: the cost model learns what this is off by."""

Feeds = Mapping[str, NDArray[Any]]
"""Arrays of shape (n, length) by input name."""

SLOWER_ON_CPU = ["SkipLayerNormFusion", "BiasGeluFusion"]
"""Fusions whose CPU kernels cost more than what they replace."""


class EngineError(Exception):
    """The model cannot be run as configured: a missing provider, or a graph that is not what it should be."""


def choose_variant(manifest: Manifest, path: Path, device: str, precision: str) -> Variant:
    """The variant of a device with a precision, or with `auto` the fastest there is.

    Raises:
        ArtifactError: naming what the artifact has instead.
    """
    wanted = PREFERENCE[device] if precision == "auto" else (precision,)
    for each in wanted:
        for variant in manifest.variants:
            if (variant.device, variant.precision) == (device, each):
                return variant
    present = ", ".join(variant.name for variant in manifest.variants)
    raise ArtifactError(path, f"expected a variant {device}-{' or '.join(wanted)}; it has {present}")


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

    def __init__(self, artifact: Artifact, variant: Variant, token_cache_bytes: int, metrics: Metrics) -> None:
        self._tokenizer = artifact.tokenizer
        self._template = artifact.manifest.template
        self._fields = tuple(field.name for field in self._template.fields)
        self._cache = TokenCache(token_cache_bytes) if token_cache_bytes else None
        self._hits = metrics.cache_lookups.labels("hit")
        self._misses = metrics.cache_lookups.labels("miss")
        path = artifact.variant_path(variant.name)
        self._session = _open_session(path, variant.device)
        self._inputs = _check_graph(self._session, path)
        self._run = _run_bound if variant.device == "cuda" else _run

    def prepare_query(self, query: str) -> TokenIds:
        """Token ids of the query."""
        return self._tokenizer.encode_query(query)

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

    def guess_pair_tokens(self, query: str, products: Sequence[Product]) -> float:
        """By the characters of a sample of products."""
        sample = products[:: -(-len(products) // GUESS_PRODUCTS)]
        fields = self._template.fields
        tokens = 0.0
        for product in sample:
            for field in fields:
                if text := product.get(field.name):
                    tokens += min(len(text) / CHARS_PER_TOKEN, field.max_tokens)
        query_tokens = min(len(query) / CHARS_PER_TOKEN, self._template.max_query_tokens)
        special = self._template.pair_format.special_tokens
        return min(tokens / len(sample) + query_tokens + special, self._template.max_tokens)

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
        logits = self._run(self._session, feeds)
        return np.asarray(logits, dtype=np.float32).reshape(len(pairs))


def _run(session: onnxruntime.InferenceSession, feeds: Feeds) -> NDArray[np.floating]:
    logits: NDArray[np.floating] = session.run([OUTPUT], feeds)[0]
    return logits


def _run_bound(session: onnxruntime.InferenceSession, feeds: Feeds) -> NDArray[np.floating]:
    """By an IO binding of its own, so that any number of threads may run: inputs from numpy, logits to CPU memory."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output(OUTPUT)
    session.run_with_iobinding(binding)
    logits: NDArray[np.floating] = binding.copy_outputs_to_cpu()[0]
    return logits


def _open_session(path: Path, device: str) -> onnxruntime.InferenceSession:
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise EngineError(f"device {device} needs ONNX Runtime's {provider}, which this installation does not have")
    if device == "cuda":
        # Finds CUDA and cuDNN where packages brought them (the extra gpu-libraries); else the system's are used.
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    # The lanes are the parallelism: a session that brings its own threads, and spins in them, takes it from them.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Shapes vary with every micro-batch, but the token budget bounds them, and so the arena: it ends up smaller, and
    # faster, than malloc from many threads. Memory patterns are kept per shape and gain nothing here.
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=[(provider, PROVIDER_OPTIONS[device])],
            disabled_optimizers=SLOWER_ON_CPU if device == "cpu" else None,
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base below this one
        raise EngineError(f"{path}: ONNX Runtime cannot load it: {error}") from error
    used = session.get_providers()[0]
    if used != provider:
        raise EngineError(f"{path}: expected to run on {provider}, ONNX Runtime fell back to {used}")
    return session


def _check_graph(session: onnxruntime.InferenceSession, path: Path) -> dict[str, type[np.int64] | type[np.int32]]:
    """Input name -> type of the inputs that the graph reads."""
    known = ("input_ids", "attention_mask", "token_type_ids")
    inputs: dict[str, type[np.int64] | type[np.int32]] = {}
    for each in session.get_inputs():
        if each.name not in known or each.type not in DTYPES:
            raise EngineError(f"{path}: expected inputs among {', '.join(known)} of int64 or int32, found {each}")
        inputs[each.name] = DTYPES[each.type]
    outputs = [each.name for each in session.get_outputs()]
    if OUTPUT not in outputs:
        raise EngineError(f"{path}: expected an output {OUTPUT!r}, found {outputs}")
    return inputs

"""What a split model keeps of a product, and the key that it is kept under."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .manifest import Manifest, Variant
from .template import InputTemplate, Product

ZERO_POINT = 128
"""Which unsigned 8-bit integer stands for 0."""

KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class ProductState:
    """One product's side of a split model: a state for each of its tokens, special ones left out, and one vector.

    In int8, the value of an integer is (integer - ZERO_POINT) * scale, with a scale per token and one of the vector;
    in fp32 the scales are 1. A product without a single token has the states of the special ones.

    Attributes:
        tokens: uint8 or float32, shape (tokens, width).
        scales: float32, shape (tokens,).
        pooled: uint8 or float32, shape (pooled_width,).
        pooled_scale: of `pooled`.
    """

    tokens: NDArray[Any]
    scales: NDArray[np.float32]
    pooled: NDArray[Any]
    pooled_scale: float

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers themselves."""
        return self.tokens.nbytes + self.scales.nbytes + self.pooled.nbytes + 4


def own_copy(state: ProductState) -> ProductState:
    """The same in arrays of its own: one read from a file outlives the file."""
    return ProductState(state.tokens.copy(), state.scales.copy(), state.pooled.copy(), state.pooled_scale)


def states_version(manifest: Manifest, variant: Variant) -> str:
    """16 hex digits of everything that a product's state depends on: encoder, tokenizer, template, layout.

    Two artifacts share it only if they give every product the same state, whatever else differs.

    Raises:
        ValueError: the model is not split.
    """
    if variant.product_encoder is None or variant.states is None:
        raise ValueError(f"a {manifest.architecture} model keeps no states of products")
    contents = {
        "encoder": variant.product_encoder.sha256,
        "tokenizer": manifest.tokenizer.sha256,
        "template": manifest.template.model_dump(mode="json"),
        "states": variant.states.model_dump(mode="json"),
    }
    canonical = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def state_key(version: str, template: InputTemplate, product: Product) -> bytes:
    """KEY_BYTES of digest (BLAKE2b) of the product's text as the template renders it, keyed by `states_version`.

    One other character that the model may read, or another artifact, makes another key.
    """
    # With its length before each part, no text can pass for several.
    text = "".join(f"{max_tokens}:{len(part)}:{part}" for part, max_tokens in template.render_product(product))
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES, key=version.encode()).digest()


def states_of_batch(
    tokens: NDArray[Any],
    scales: NDArray[np.float32],
    pooled: NDArray[Any],
    pooled_scales: NDArray[np.float32],
    lengths: Sequence[int] | NDArray[np.integer[Any]],
) -> list[ProductState]:
    """What a product encoder gave for a batch of n products, apart; copies, so that none keeps its batch alive.

    Args:
        tokens: shape (n, longest, width), special tokens and padding included.
        scales: of the tokens, shape (n, longest).
        pooled: shape (n, pooled_width).
        pooled_scales: shape (n,).
        lengths: of each product in tokens, the first and the last of them special ones; at least 1.
    """
    states = []
    for row, length in enumerate(lengths):
        own = slice(1, length - 1) if length > 2 else slice(0, length)
        states.append(
            ProductState(
                tokens[row, own].copy(), scales[row, own].copy(), pooled[row].copy(), float(pooled_scales[row])
            )
        )
    return states

"""Product states side by side, as the interaction of a split model reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .product_states import ProductState


class Gather:
    """Lays the states of products side by side, padded to the longest, in one copy of their bytes.

    By joining bytes, not arrays: numpy may let go of the interpreter for each array that it copies.

    Args:
        max_tokens: of a product, at most.
        width: of a token's state.
        dtype: of its numbers.
    """

    def __init__(self, max_tokens: int, width: int, dtype: type[np.generic]) -> None:
        self._no_tokens = np.zeros((max_tokens, width), dtype=dtype)
        self._no_scales = np.zeros(max_tokens, dtype=np.float32)

    def __call__(self, products: Sequence[ProductState]) -> dict[str, NDArray[Any]]:
        """The interaction's inputs on the products' side, for n of them."""
        assert products[0].tokens.dtype == self._no_tokens.dtype
        lengths = [len(product.tokens) for product in products]
        longest = max(lengths)
        tokens, scales = [], []
        for product, length in zip(products, lengths, strict=True):
            tokens.append(product.tokens)
            scales.append(product.scales)
            if length < longest:
                tokens.append(self._no_tokens[length:longest])
                scales.append(self._no_scales[length:longest])
        n = len(products)
        return {
            "tokens": _joined(tokens, self._no_tokens.dtype).reshape(n, longest, -1),
            "scales": _joined(scales, self._no_scales.dtype).reshape(n, longest),
            "lengths": np.array(lengths, dtype=np.int64),
            "pooled": _joined([product.pooled for product in products], self._no_tokens.dtype).reshape(n, -1),
            "pooled_scales": np.array([product.pooled_scale for product in products], dtype=np.float32),
        }


def _joined(arrays: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    # As buffers, which numpy's types do not say that arrays are.
    return np.frombuffer(b"".join(arrays), dtype=dtype)

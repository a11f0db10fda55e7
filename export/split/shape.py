"""The sizes that the graphs of a split student depend on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..graph import Floats

States = Literal["int8", "fp32"]
"""In which numbers a product's states are kept."""


@dataclass(frozen=True, slots=True)
class InteractionShape:
    """Sizes of the interaction.

    Attributes:
        layers: how many; may be none.
        width: of the encoders' states.
        heads: of attention.
        state_width: of a product token's state.
        projected: whether that is a projection of the encoder's state.
        max_sim: whether that shortcut has any weight.
        layer_norm_eps: of all its normalisations.
    """

    layers: int
    width: int
    heads: int
    state_width: int
    projected: bool
    max_sim: bool
    layer_norm_eps: float

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


def by_head(weight: Floats, shape: InteractionShape) -> Floats:
    """Rows of a matrix (width, inner) by head: (heads, head size, inner)."""
    return weight.reshape(shape.heads, shape.head_size, weight.shape[1])


def asking_weights(query: Floats, bias: Floats, key: Floats, shape: InteractionShape) -> tuple[Floats, Floats]:
    """Queries brought to the space of product states, for each head: what is multiplied is the states themselves.

    A score q_h (K_h s) is (K_h^T q_h) s: with few queries and many products, the keys of products are not needed.

    Args:
        query, bias: (width, width) and (width,), already divided by the root of the head size.
        key: (width, state_width).

    Returns:
        Weight (heads * state_width, width) and bias (heads * state_width,).
    """
    keys = by_head(key, shape).astype(np.float64)
    weight = np.einsum("hds,hdw->hsw", keys, by_head(query, shape).astype(np.float64))
    moved = np.einsum("hds,hd->hs", keys, bias.reshape(shape.heads, -1).astype(np.float64))
    return weight.reshape(-1, shape.width).astype(np.float32), moved.reshape(-1).astype(np.float32)


def answering_weight(value: Floats, output: Floats, shape: InteractionShape) -> Floats:
    """Values and the product that follows attention in one: weighted means of states by head -> width.

    Args:
        value: (width, state_width).
        output: (width, width).

    Returns:
        (width, heads * state_width).
    """
    values = by_head(value, shape).astype(np.float64)
    outputs = output.reshape(shape.width, shape.heads, shape.head_size).astype(np.float64)
    folded: Floats = np.einsum("ohd,hds->ohs", outputs, values).reshape(shape.width, -1).astype(np.float32)
    return folded

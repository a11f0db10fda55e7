"""Where a query meets products: a few layers that update the query's tokens alone, over the states of both.

Each layer is one of BERT's whose keys and values come from the query's tokens and from the product's fixed states, in
one softmax. Two shortcuts stand beside it, so that a new student scores as the sentence encoder does: the cosine of the
two vectors, and MaxSim (Khattab and Zaharia, ColBERT, SIGIR 2020) weighted by the importance of the query's tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..config import Shortcut

MASKED = -1e4
"""Added to attention scores of padding: far below any score, and inside the range of bfloat16."""

SPECIAL = 2
"""Special tokens around a text."""

SHORTCUTS = get_args(Shortcut)


@dataclass(frozen=True, slots=True)
class Texts:
    """Padded states of several texts.

    Attributes:
        states: (texts, tokens, width).
        present: (texts, tokens), True where a token stands.
        pooled: unit vectors, (texts, width).
    """

    states: Tensor
    present: Tensor
    pooled: Tensor

    def __getitem__(self, rows: Tensor) -> "Texts":
        return Texts(self.states[rows], self.present[rows], self.pooled[rows])


class InteractionLayer(nn.Module):
    """One layer. Keys and values have no biases: a softmax does not see the one, the output bias holds the other.

    Args:
        layer: of a BERT encoder, whose weights it starts from.
        state_width: of the products' states.
        basis: (state_width, width): what a state's numbers stand for in the encoder's own states, to start from.
    """

    def __init__(self, layer: Any, state_width: int, basis: Tensor) -> None:
        super().__init__()
        attention = layer.attention.self
        width = attention.query.in_features
        self.heads: int = attention.num_attention_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.product_key = nn.Linear(state_width, width, bias=False)
        self.product_value = nn.Linear(state_width, width, bias=False)
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=layer.output.LayerNorm.eps)
        self.inner = nn.Linear(width, layer.intermediate.dense.out_features)
        self.outer = nn.Linear(layer.intermediate.dense.out_features, width)
        self.output_norm = nn.LayerNorm(width, eps=layer.output.LayerNorm.eps)
        self._start_from(layer, basis)

    @torch.no_grad()
    def _start_from(self, layer: Any, basis: Tensor) -> None:
        attention, output = layer.attention.self, layer.attention.output
        self.query.load_state_dict(attention.query.state_dict())
        self.key.weight.copy_(attention.key.weight)
        self.value.weight.copy_(attention.value.weight)
        self.product_key.weight.copy_(attention.key.weight @ basis.T)
        self.product_value.weight.copy_(attention.value.weight @ basis.T)
        self.output.weight.copy_(output.dense.weight)
        self.output.bias.copy_(output.dense.bias + output.dense.weight @ attention.value.bias)
        self.attention_norm.load_state_dict(output.LayerNorm.state_dict())
        self.inner.load_state_dict(layer.intermediate.dense.state_dict())
        self.outer.load_state_dict(layer.output.dense.state_dict())
        self.output_norm.load_state_dict(layer.output.LayerNorm.state_dict())

    def forward(self, asking: Tensor, tokens: Tensor, states: Tensor, mask: Tensor, which: Tensor | None) -> Tensor:
        """The layer's output for `asking`, (pairs, asking tokens, width).

        Args:
            asking: (queries, asking tokens, width), the first tokens of `tokens` or all.
            tokens: (queries, query tokens, width).
            states: (pairs, product tokens, state width).
            mask: (pairs, 1, 1, query tokens + product tokens), added to attention scores.
            which: query of each pair, (pairs,); None where `tokens` has a row for each pair already.
        """
        query, key, value = self.query(asking), self.key(tokens), self.value(tokens)
        if which is not None:
            asking, query, key, value = (part[which] for part in (asking, query, key, value))
        key = torch.cat([key, self.product_key(states)], dim=1)
        value = torch.cat([value, self.product_value(states)], dim=1)
        q, k, v = (self._by_head(part) for part in (query, key, value))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask).softmax(dim=-1)
        context = (weights.to(v.dtype) @ v).transpose(1, 2).reshape(asking.shape)
        attended = self.attention_norm(self.output(context) + asking)
        result: Tensor = self.output_norm(self.outer(functional.gelu(self.inner(attended))) + attended)
        return result

    def _by_head(self, tensor: Tensor) -> Tensor:
        pairs, tokens, width = tensor.shape
        return tensor.view(pairs, tokens, self.heads, width // self.heads).transpose(1, 2)


class Interaction(nn.Module):
    """Pairs of texts to logits.

    Args:
        layers: of a BERT encoder, to start from; may be none.
        basis: rows that product states are projected on at the start, (state_width, width), orthonormal; None: states
            are kept as they are.
        norm: mean length of the encoder's states, of which the products' are brought to unit length.
        width: of the encoders' states.
    """

    def __init__(self, layers: Sequence[Any], basis: Tensor | None, norm: float, width: int) -> None:
        super().__init__()
        self.projection = None if basis is None else nn.Linear(width, len(basis), bias=False)
        if self.projection is not None and basis is not None:
            with torch.no_grad():
                self.projection.weight.copy_(basis)
        start = norm * (torch.eye(width) if basis is None else basis)
        self.layers = nn.ModuleList(InteractionLayer(layer, len(start), start) for layer in layers)
        self.importance = nn.Linear(width, 1)
        self.shortcut = nn.Linear(len(SHORTCUTS), 1)
        self.pooler = nn.Linear(width, width)
        self.head = nn.Linear(width, 1, bias=False)
        for zero in (self.importance.weight, self.importance.bias, self.head.weight, self.shortcut.bias):
            nn.init.zeros_(zero)
        nn.init.ones_(self.shortcut.weight)

    @torch.no_grad()
    def keep_shortcuts(self, kept: Sequence[Shortcut]) -> None:
        """Takes the weight from all other shortcuts, for good."""
        mask = torch.tensor([[float(each in kept) for each in SHORTCUTS]])
        self.shortcut.weight.mul_(mask.to(self.shortcut.weight.device))
        self.shortcut.weight.register_hook(lambda gradient: gradient * mask.to(gradient.device))

    def product_states(self, states: Tensor) -> Tensor:
        """What is kept of a product's tokens: (..., width) to (..., state width), of unit length."""
        states = functional.normalize(states, dim=-1)
        return states if self.projection is None else functional.normalize(self.projection(states), dim=-1)

    def forward(self, queries: Texts, products: Texts, which: Tensor) -> Tensor:
        """Logits, (pairs,), float32.

        Args:
            queries: all tokens, the special ones first and last.
            products: `states` as `product_states` makes them, without special tokens; one product per pair.
            which: query of each pair, (pairs,).
        """
        logits: Tensor = self.shortcut(self.shortcuts(queries, products, which)).squeeze(-1)
        if not self.layers:
            return logits.float()
        present = torch.cat([queries.present[which], products.present], dim=1)
        mask = ((1.0 - present.float()) * MASKED)[:, None, None, :]
        tokens = queries.states
        per_pair: Tensor | None = which
        for layer in self.layers[:-1]:
            tokens = layer(tokens, tokens, products.states, mask, per_pair)
            per_pair = None
        first = self.layers[-1](tokens[:, :1], tokens, products.states, mask, per_pair)[:, 0]
        logits = logits + self.head(torch.tanh(self.pooler(first))).squeeze(-1)
        return logits.float()

    def shortcuts(self, queries: Texts, products: Texts, which: Tensor) -> Tensor:
        """Cosine and MaxSim, (pairs, 2)."""
        cosine = (queries.pooled[which] * products.pooled).sum(-1)
        similarity = self.product_states(queries.states)[which] @ products.states.transpose(1, 2)
        best = similarity.masked_fill(~products.present[:, None, :], MASKED).max(dim=-1).values
        weights = self._importance(queries)[which]
        return torch.stack([cosine, (weights * best).sum(-1)], dim=-1)

    def _importance(self, queries: Texts) -> Tensor:
        """Weights of the query's own tokens, which sum to 1: (queries, tokens). Without any, the special ones'."""
        present = queries.present
        length = present.sum(1, keepdim=True)
        position = torch.arange(present.shape[1], device=present.device)[None, :]
        own = torch.where(length > SPECIAL, present & (position > 0) & (position < length - 1), present)
        scores = self.importance(queries.states).squeeze(-1).float()
        weights: Tensor = scores.masked_fill(~own, -torch.inf).softmax(dim=-1)
        return weights

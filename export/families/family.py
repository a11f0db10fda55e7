"""What export must know of a family of models."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..bert import Activation, BertShape
from ..graph import Floats

Config = Any
"""A configuration object of transformers, which come without types."""

ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "tanh gelu",
    "gelu_pytorch_tanh": "tanh gelu",
    "gelu_fast": "tanh gelu",
    "relu": "relu",
}
"""transformers' name of an activation -> ours."""

PLAIN_ENCODER: Mapping[str, tuple[tuple[object, ...], str]] = {
    "hidden_act": (tuple(ACTIVATIONS), "the graph computes these"),
    "position_embedding_type": (("absolute",), "the graph adds position embeddings"),
    "is_decoder": ((False,), "a cross-encoder reads in both directions"),
}
"""What BERT, RoBERTa and ELECTRA share of `Family.supported`."""


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        model_type: as config.json says it.
        classifier: name of transformers' class.
        encoder: prefix of the encoder's weights in the classifier's state dict.
        shape: from a configuration; the checkpoint sets token types and gains.
        renames: (pattern, replacement) from the names of the state dict to BERT's, each applied in turn.
        finish: what is left to do to the renamed weights.
        supported: key of config.json -> the values that are exported (also where the key is absent), and why.
        reads_token_types: from a configuration, whether the model tells the two texts apart by token types.
        max_positions: from a configuration, the longest pair.
        traced: transformers' code is traced; `renames` and `finish` are not used.
    """

    model_type: str
    classifier: str
    encoder: str
    shape: Callable[[Config], BertShape]
    renames: tuple[tuple[str, str], ...] = ()
    finish: Callable[[dict[str, Floats], Config], dict[str, Floats]] = lambda weights, _: weights
    supported: Mapping[str, tuple[tuple[object, ...], str]] = field(default_factory=dict)
    reads_token_types: Callable[[Config], bool] = lambda _: False
    max_positions: Callable[[Config], int] = lambda config: int(config.max_position_embeddings)
    traced: bool = False

    def weights(self, state: Mapping[str, Floats], config: Config) -> dict[str, Floats]:
        """A state dict under the names, and with the meaning, that bert.py reads; token types as they come."""
        return self.finish({self._renamed(name): value for name, value in state.items()}, config)

    def _renamed(self, name: str) -> str:
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name

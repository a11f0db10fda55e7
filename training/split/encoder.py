"""A sentence encoder as one side of a split student: token ids to a state per token and one vector per text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedModel

from artifact import PairTokenizer
from artifact.tokenisation import TokenIds

from .. import bert_forward
from ..errors import TrainingError
from ..pretrained import load

TEXTS_PER_BATCH = 32


class TextEncoder(nn.Module):
    """A BERT encoder without pooler. A saved folder is a Hugging Face checkpoint."""

    def __init__(self, bert: PreTrainedModel) -> None:
        super().__init__()
        self.bert: PreTrainedModel = bert

    @classmethod
    def create(cls, model: str, layers: Sequence[int] = ()) -> Self:
        """From pretrained weights.

        Args:
            model: Hugging Face id, folder, or packaged model.
            layers: which of its layers to keep; all of them if empty.

        Raises:
            TrainingError: the model cannot be loaded, is no plain BERT encoder, or has no such layers.
        """
        bert = load(AutoModel, model, add_pooling_layer=False, attn_implementation="eager", dtype=torch.float32)
        if not bert_forward.is_encoder(bert):
            raise TrainingError(f"{model}: a split student needs a BERT encoder with absolute positions and GELU")
        encoder = cls(bert)
        if layers:
            bert.encoder.layer = nn.ModuleList(encoder.some_layers(layers))
            bert.config.num_hidden_layers = len(layers)
        return encoder

    def save(self, folder: Path) -> None:
        """Writes the checkpoint folder."""
        self.bert.save_pretrained(folder)

    @property
    def width(self) -> int:
        """Of a state."""
        return int(self.bert.config.hidden_size)

    @property
    def layers(self) -> int:
        """How many."""
        return int(self.bert.config.num_hidden_layers)

    def some_layers(self, picked: Sequence[int]) -> list[Any]:
        """Layers by their numbers.

        Raises:
            TrainingError: it has not so many.
        """
        if picked and max(picked) >= self.layers:
            raise TrainingError(f"the encoder has {self.layers} layers, the configuration picks {list(picked)}")
        present: Any = self.bert.encoder.layer
        return [present[i] for i in picked]

    def forward(self, texts: Sequence[TokenIds], tokenizer: PairTokenizer) -> list[Tensor]:
        """States of every token of each text, the special ones around it included: (tokens + 2, width) each."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        device = next(self.parameters()).device
        groups = [order[start : start + TEXTS_PER_BATCH] for start in range(0, len(order), TEXTS_PER_BATCH)]
        batches: list[dict[str, Any]] = []
        for group in groups:
            arrays = tokenizer.collate_alone([texts[i] for i in group]).feeds()
            batches.append({name: torch.from_numpy(array).to(device) for name, array in arrays.items()})
        result: list[Tensor] = [torch.empty(0)] * len(texts)
        for group, states, batch in zip(groups, bert_forward.token_states(self.bert, batches), batches, strict=True):
            for i, row, length in zip(group, states, batch["attention_mask"].sum(1).tolist(), strict=True):
                result[i] = row[:length]
        return result


def pooled(states: Tensor) -> Tensor:
    """A text's vector: the mean of all its states, (tokens, width), at unit length (Reimers and Gurevych, 2019)."""
    return functional.normalize(states.mean(0), dim=-1)


def own_states(states: Tensor) -> Tensor:
    """Of a text's states, (tokens, width), those of its own tokens; all of them where it has none."""
    return states[1:-1] if len(states) > 2 else states

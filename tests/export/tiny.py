"""A tiny random cross-encoder, and what an export of it needs."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, BertModel

from artifact import DataSet, InputTemplate, Lineage, TemplateField

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(d) for d in range(10)]
VOCABULARY = [*SPECIAL, *CHARACTERS, *(f"##{c}" for c in CHARACTERS), "charger", "lamp", "water", "bottle", "for"]

TEMPLATE = InputTemplate(
    fields=(TemplateField(name="title", max_tokens=40), TemplateField(name="brand", max_tokens=8)),
    max_query_tokens=12,
    max_tokens=64,
)
LINEAGE = Lineage(
    teacher="a teacher",
    student_init="random weights",
    loss="none",
    seed=7,
    commit=None,
    created="2026-01-01",
    data_sets=(
        DataSet(name="first data", rows=1200, licence="CC0", role="products"),
        DataSet(name="second | data", rows=3, licence="MIT", role="queries"),
    ),
    durations_s={"student": 12.0},
)


@dataclass(frozen=True)
class Figure:
    """What `evaluate` gives."""

    name: str
    value: float
    data: str = "judgements"
    split: str = "test"
    size: int = 40

    @property
    def low(self) -> float:
        return self.value - 0.01

    @property
    def high(self) -> float:
        return self.value + 0.01


def silent(line: str) -> None:
    """Takes progress lines and drops them."""


def tiny_config(**changes: object) -> BertConfig:
    sizes: dict[str, object] = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 80,
        "num_labels": 1,
        "initializer_range": 0.3,
    }
    return BertConfig(**{**sizes, **changes})


def write_checkpoint(folder: Path, bare: bool = False, **changes: object) -> Path:
    """Writes a checkpoint folder; `changes` go into the configuration, `bare` leaves the head out."""
    torch.manual_seed(3)
    model = (BertModel if bare else BertForSequenceClassification)(tiny_config(**changes))
    with torch.no_grad():  # biases start at zero; a graph that drops one would pass unseen
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder

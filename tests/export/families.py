"""Tiny random cross-encoders of every family, each with a tokenizer of the kind that the family has."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from export.generator import made_up_pairs

from .tiny import CHARACTERS, VOCABULARY

WORDS = ("charger", "lamp", "water", "bottle", "for")
ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
SIZES: dict[str, object] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "initializer_range": 0.3,
}


def word_pieces(name: str) -> Any:
    """BERT's kind."""
    return getattr(transformers, name)(vocab={word: i for i, word in enumerate(VOCABULARY)})


def byte_pairs(special: list[str], last: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of RoBERTa's kind: every byte, and two words' beginnings."""
    merges = [("l", "a"), ("la", "m"), ("lam", "p"), ("Ġ", "w"), ("Ġw", "a")]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in merges), *last]
    return {token: i for i, token in enumerate(tokens)}, merges


def pieces(special: list[str], last: list[str]) -> list[tuple[str, float]]:
    """Scored pieces of XLM-R's kind."""
    plain = ["▁", *CHARACTERS, *(f"▁{word}" for word in WORDS)]
    return [*((token, 0.0) for token in special), *((p, -len(plain) / (1 + len(p))) for p in plain)] + [
        (token, 0.0) for token in last
    ]


def roberta_tokenizer() -> Any:
    vocabulary, merges = byte_pairs(ROBERTA_SPECIAL, ["<mask>"])
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)


def deberta_tokenizer() -> Any:
    vocabulary, merges = byte_pairs(["[CLS]", "[PAD]", "[SEP]", "[UNK]"], ["[MASK]"])
    return transformers.DebertaTokenizer(vocab=vocabulary, merges=merges)


def modernbert_tokenizer() -> Any:
    vocabulary, merges = byte_pairs(["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"], [])
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    names = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "unk", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@dataclass(frozen=True)
class Case:
    """One family: its classes, what its configuration says beyond `SIZES`, and its tokenizer."""

    name: str
    config: str
    tokenizer: Callable[[], Any]
    changes: dict[str, object]
    token_types: bool = False

    @property
    def classifier(self) -> Any:
        return getattr(transformers, self.config.replace("Config", "ForSequenceClassification"))

    def write(self, folder: Path, outputs: int = 1, **changes: object) -> Path:
        """Writes a checkpoint folder."""
        tokenizer = self.tokenizer()
        sizes = {**SIZES, "vocab_size": len(tokenizer), "num_labels": outputs, **self.changes, **changes}
        torch.manual_seed(4)
        model = self.classifier(getattr(transformers, self.config)(**sizes))
        with torch.no_grad():  # biases and scales start at 0 and 1; a graph that drops one would pass unseen
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * (0.2 if name.endswith("bias") else 0.05))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder


ROBERTA = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
DEBERTA = {"relative_attention": True, "type_vocab_size": 0, "position_biased_input": False}

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("bert", "BertConfig", lambda: word_pieces("BertTokenizer"), {}, token_types=True),
        Case("distilbert", "DistilBertConfig", lambda: word_pieces("DistilBertTokenizer"), DISTILBERT),
        Case(
            "electra",
            "ElectraConfig",
            lambda: word_pieces("ElectraTokenizer"),
            {"embedding_size": 16, "hidden_act": "gelu_new"},
            token_types=True,
        ),
        Case("roberta", "RobertaConfig", roberta_tokenizer, ROBERTA),
        Case(
            "xlm-roberta",
            "XLMRobertaConfig",
            lambda: transformers.XLMRobertaTokenizer(vocab=pieces(ROBERTA_SPECIAL, ["<mask>"])),
            ROBERTA,
        ),
        Case(
            "camembert",
            "CamembertConfig",
            lambda: transformers.CamembertTokenizer(vocab=pieces(ROBERTA_SPECIAL, ["<mask>"])),
            ROBERTA,
        ),
        Case(
            "modernbert",
            "ModernBertConfig",
            modernbert_tokenizer,
            {
                "pad_token_id": 2,
                "cls_token_id": 0,
                "sep_token_id": 1,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "local_attention": 8,
                "global_attn_every_n_layers": 2,
                "classifier_pooling": "mean",
            },
        ),
        Case(
            "deberta",
            "DebertaConfig",
            deberta_tokenizer,
            {**DEBERTA, "pos_att_type": ["c2p", "p2c"], "pad_token_id": 1},
        ),
        Case(
            "deberta-v2",
            "DebertaV2Config",
            lambda: transformers.DebertaV2Tokenizer(vocab=pieces(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], ["[MASK]"])),
            {
                **DEBERTA,
                "position_buckets": 16,
                "norm_rel_ebd": "layer_norm",
                "share_att_key": True,
                "pos_att_type": ["p2c", "c2p"],
            },
        ),
    )
}


def write_pairs(path: Path, count: int) -> Path:
    """A file of pairs to calibrate on."""
    lines = (json.dumps({"query": query, "product": product}) for query, product in made_up_pairs(count, seed=9))
    path.write_text("\n".join(lines) + "\n")
    return path

"""Tiny random models of many families, each with a tokenizer of its own, in a folder."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
)
from transformers.utils import logging

from training.config import Teacher

WORDS = [
    "charger mouse keyboard lamp tripod headset acme globex initech umbrella black white red query product : ,"
] * 3
SIZES = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
ENCODERS = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES, pad_token_id=0),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=400, dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=128
    ),
    "deberta-v2": DebertaV2Config(
        **SIZES,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=32,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
    ),
    "modernbert": ModernBertConfig(
        **SIZES, pad_token_id=0, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3
    ),
}
DECODERS = {
    "llama": LlamaConfig(**GROUPED),
    "mistral": MistralConfig(**GROUPED, sliding_window=16),
    "qwen2": Qwen2Config(**GROUPED),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
}
TEMPLATE = {
    "max_query_tokens": 8,
    "max_tokens": 48,
    "fields": [
        {"name": "title", "max_tokens": 16},
        {"name": "brand", "max_tokens": 4, "omit_if_in": "title"},
        {"name": "color", "max_tokens": 4},
    ],
}


def write_model(family: str, folder: Path) -> Path:
    """A random model of a family in `folder`: the body alone, as pretrained checkpoints have it."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = {**ENCODERS, **DECODERS}[family]
    AutoModel.from_config(config).save_pretrained(folder)
    _tokenizer(family).save_pretrained(folder)
    return folder


def settings_for(model: Path, **more: object) -> Teacher:
    """Settings of a teacher from a model of `write_model`."""
    fit = {"learning_rate": 5e-3, "epochs": 2, "batch_pairs": 8, "precision": "fp32"}
    return Teacher.model_validate({"model": str(model), "template": TEMPLATE, "fit": fit, **more})


def _tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Byte-level: of decoders without a padding token, as Llama, Mistral and Qwen come; of encoders with BERT's."""
    special = ["<s>", "</s>"] if family in DECODERS else ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        WORDS, BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    if family in ENCODERS:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    if not family.startswith("qwen"):
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")

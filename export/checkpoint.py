"""Reads a Hugging Face checkpoint folder of a BERT cross-encoder, and refuses by name what cannot be exported."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

from .bert import BertShape
from .errors import ExportError
from .graph import Floats

TOKENIZER_FILE = "tokenizer.json"
HEAD_SEED = 20
SUPPORTED = {
    "model_type": ("bert", "export reads BERT checkpoints"),
    "hidden_act": ("gelu", "the graph computes the exact GELU"),
    "position_embedding_type": ("absolute", "the graph adds position embeddings"),
    "is_decoder": (False, "a cross-encoder reads in both directions"),
}
"""Key of config.json -> the one value that the graph is written for (also where the key is absent), and why."""


@dataclass(frozen=True)
class Checkpoint:
    """A cross-encoder with one output: the torch model that defines the right answer, and its sizes."""

    folder: Path
    model: BertForSequenceClassification
    seeded_head: bool

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer.json beside the weights."""
        return self.folder / TOKENIZER_FILE

    @property
    def shape(self) -> BertShape:
        """The sizes that the graph depends on."""
        c = self.model.config
        return BertShape(c.num_hidden_layers, c.hidden_size, c.num_attention_heads, c.layer_norm_eps)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table."""
        return int(self.model.config.vocab_size)

    @property
    def max_positions(self) -> int:
        """Longest pair that the model has positions for."""
        return int(self.model.config.max_position_embeddings)

    def weights(self) -> dict[str, Floats]:
        """The state dict as float32 arrays."""
        return {name: value.detach().float().numpy() for name, value in self.model.state_dict().items()}

    def logits(self, feeds: Mapping[str, NDArray[np.int64]]) -> Floats:
        """What torch answers, float32 of shape (n,). `feeds` holds int64 arrays of shape (n, length)."""
        with torch.inference_mode():
            output = self.model(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        logits: Floats = output.logits[:, 0].numpy()
        return logits


def load_checkpoint(folder: Path, say: Callable[[str], None]) -> Checkpoint:
    """Loads config.json and model.safetensors of a BertForSequenceClassification with one output.

    A folder of a bare encoder (BertModel) gets a seeded head, and `say` is told loudly: good for measuring speed only.

    Raises:
        ExportError: a file is missing or damaged, the architecture is another one, a weight is missing or not finite.
    """
    for name in ("config.json", "model.safetensors", TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise ExportError(f"{folder / name}: expected a Hugging Face checkpoint folder with this file; found none")
    config = _config(folder / "config.json")
    weights_path = folder / "model.safetensors"
    try:
        found = {_full_name(name): value for name, value in load_file(weights_path).items()}
    except Exception as error:  # the library raises an exception type of its own
        raise ExportError(f"{weights_path}: damaged or cut short, copy it again: {error}") from error
    seeded = "classifier.weight" not in found
    if not seeded and found["classifier.weight"].shape[0] != 1:
        outputs = found["classifier.weight"].shape[0]
        raise ExportError(f"{weights_path}: expected a classifier with 1 output, found {outputs}")
    model = _empty_model(folder / "config.json", config)
    if seeded:
        _seed_head(model)
        say(f"WARNING: {folder} has no classifier head; a RANDOM one was seeded: good for speed, not for scores")
    try:
        missing, unexpected = model.load_state_dict(found, strict=False)
    except RuntimeError as error:
        raise ExportError(f"{weights_path}: its shapes disagree with config.json: {error}") from error
    missing = [name for name in missing if not (seeded and name.startswith("classifier."))]
    unexpected = [name for name in unexpected if not name.endswith("position_ids")]
    if missing or unexpected:
        raise ExportError(
            f"{weights_path}: expected the weights of BertForSequenceClassification; "
            f"missing {missing[:3] or 'none'}, unknown {unexpected[:3] or 'none'}"
        )
    model.float()
    for name, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise ExportError(
                f"{weights_path}: {name} holds NaN or infinity: the training run went wrong, do not use it"
            )
    return Checkpoint(folder, model, seeded)


def _config(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
        if not isinstance(raw, dict):
            raise TypeError("not an object")
    except (ValueError, TypeError) as error:
        raise ExportError(f"{path}: expected the configuration of a BERT model: {error}") from error
    for key, (expected, why) in SUPPORTED.items():
        if (found := raw.get(key, expected)) != expected:
            raise ExportError(f"{path}: expected {key} {expected!r}, found {found!r}: {why}")
    return raw


def _empty_model(path: Path, config: dict[str, Any]) -> BertForSequenceClassification:
    """The model of a configuration, one output, its weights yet to come."""
    try:
        labels = {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        return BertForSequenceClassification(BertConfig.from_dict({**config, **labels})).eval()
    except Exception as error:  # the library checks fields with exceptions of its own
        raise ExportError(f"{path}: expected the configuration of a BERT model: {error}") from error


def _full_name(name: str) -> str:
    """A bare encoder's weights lack the prefix that the classifier's state dict has."""
    return f"bert.{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def _seed_head(model: BertForSequenceClassification) -> None:
    """Gives the classifier weights that spread logits over about one unit, the same in every run."""
    generator = torch.Generator().manual_seed(HEAD_SEED)
    with torch.no_grad():
        width = model.config.hidden_size
        model.classifier.weight.copy_(torch.randn(1, width, generator=generator) / width**0.5)
        model.classifier.bias.zero_()

"""A sequence classifier with one logit that reads query and product together: the student, and the teacher's core."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from artifact import InputTemplate, PairTokenizer, Product
from artifact.tokenisation import TokenIds

from . import bert_forward
from .config import INIT_FROM_TEACHER, Config, Precision
from .device import autocast, pick_device
from .errors import TrainingError
from .pretrained import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, load, pair_tokenizer
from .runs import write_json

TEMPLATE_FILE = "template.json"
EncodedPair = tuple[TokenIds, TokenIds]


class CrossEncoder(nn.Module):
    """A Hugging Face sequence classifier with its tokeniser and input template.

    A saved folder is a Hugging Face checkpoint with `tokenizer.json` and `template.json` beside it.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PairTokenizer, tokenizer_path: Path) -> None:
        super().__init__()
        self.model: PreTrainedModel = model
        self.tokenizer = tokenizer
        self.tokenizer_path = tokenizer_path

    @classmethod
    def create(
        cls,
        model: str,
        template: InputTemplate,
        work_folder: Path,
        layers: Sequence[int] = (),
    ) -> Self:
        """From pretrained weights, with a head of zeros.

        Args:
            model: Hugging Face id, folder, or packaged model.
            template: the input template.
            work_folder: gets the tokenizer.
            layers: which of the encoder's layers to keep; all of them if empty.

        Raises:
            TrainingError: the model cannot be loaded, or has no such layers.
        """
        tokenizer = pair_tokenizer(model, template, work_folder)
        options = {"num_labels": 1, "attn_implementation": _attention(), "dtype": torch.float32}
        # A head with other outputs than one is passed over: it becomes zeros anyway.
        classifier = load(AutoModelForSequenceClassification, model, ignore_mismatched_sizes=True, **options)
        if layers:
            _keep_layers(model, classifier, layers)
        head = classifier.classifier if isinstance(getattr(classifier, "classifier", None), nn.Linear) else None
        if head is not None:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        return cls(classifier, tokenizer, work_folder / TOKENIZER_FILE)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a folder written by `save`."""
        path = folder / TEMPLATE_FILE
        if not path.exists():
            raise TrainingError(f"{folder}: expected a checkpoint of a finished stage, found no {TEMPLATE_FILE}")
        template = read_template(path)
        options = {"attn_implementation": _attention(), "dtype": torch.float32}
        classifier = load(AutoModelForSequenceClassification, str(folder), **options)
        return cls(classifier, PairTokenizer(folder / TOKENIZER_FILE, template), folder / TOKENIZER_FILE)

    def save(self, folder: Path) -> None:
        """Writes the checkpoint folder; the template comes last and whole, so that where it stands all of it does."""
        try:
            self.model.save_pretrained(folder)
        except SafetensorError as error:
            raise TrainingError(f"{folder}: cannot write the weights: {error}") from error
        (folder / TOKENIZER_FILE).write_bytes(self.tokenizer_path.read_bytes())
        # Without it, AutoTokenizer takes the architecture's own tokeniser and its normalisation for the saved one.
        write_json(folder / TOKENIZER_CONFIG_FILE, {"tokenizer_class": "PreTrainedTokenizerFast", **self._special()})
        write_json(folder / TEMPLATE_FILE, self.tokenizer.template.model_dump(mode="json"))

    def _special(self) -> dict[str, str]:
        form = self.tokenizer.template.pair_format
        names = {"pad_token": (form.pad,), "cls_token": form.before, "sep_token": form.after}
        return {name: tokens[0] for name, tokens in names.items() if tokens}

    def drop_nothing(self) -> None:
        """Turns every dropout off."""
        drop_nothing(self)

    def _drops(self) -> bool:
        return self.training and any(isinstance(module, nn.Dropout) and module.p > 0 for module in self.modules())

    def encode(self, pairs: Sequence[tuple[str, Product]]) -> list[EncodedPair]:
        """Token ids of queries and products, each distinct query encoded once."""
        return encode_pairs(self.tokenizer, pairs)

    def forward(self, pairs: Sequence[EncodedPair], chunk: int = 32) -> Tensor:
        """Logits, shape (pairs,), in the order given; run in chunks sorted by length so that little is padding."""
        device = next(self.model.parameters()).device
        order = sorted(range(len(pairs)), key=lambda i: self.tokenizer.pair_length(len(pairs[i][0]), len(pairs[i][1])))
        batches = []
        for start in range(0, len(order), chunk):
            batch = self.tokenizer.collate([pairs[i] for i in order[start : start + chunk]])
            batches.append({name: torch.from_numpy(array).to(device) for name, array in batch.feeds().items()})
        inverse = torch.empty(len(order), dtype=torch.long)
        inverse[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(self._logits(batches))[inverse.to(device)]

    def _logits(self, batches: Sequence[dict[str, Tensor]]) -> list[Tensor]:
        if self._drops() or not bert_forward.is_supported(self.model):
            return [self.model(**batch).logits[:, 0].float() for batch in batches]
        return [logits[:, 0] for logits in bert_forward.logits(self.model, batches)]

    @torch.inference_mode()
    def logits(self, pairs: Sequence[tuple[str, Product]], precision: Precision = "fp32") -> NDArray[np.float32]:
        """Logits of text pairs, shape (pairs,), in evaluation mode."""
        if not pairs:
            return np.empty(0, np.float32)
        self.eval().to(pick_device())
        with autocast(pick_device(), precision):
            logits: NDArray[np.float32] = self(self.encode(pairs), chunk=64).cpu().numpy()
        return logits


def encode_pairs(tokenizer: PairTokenizer, pairs: Sequence[tuple[str, Product]]) -> list[EncodedPair]:
    """Token ids of queries and products, each distinct query encoded once."""
    queries = {query: tokenizer.encode_query(query) for query in dict.fromkeys(q for q, _ in pairs)}
    products = tokenizer.encode_products([product for _, product in pairs])
    return [(queries[query], ids) for (query, _), ids in zip(pairs, products, strict=True)]


def drop_nothing(model: nn.Module) -> None:
    """Turns every dropout of a model off."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def read_template(path: Path) -> InputTemplate:
    """The input template of a checkpoint.

    Raises:
        TrainingError: the file is damaged.
    """
    try:
        return InputTemplate.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrainingError(f"{path}: damaged; delete its folder and run its stage again") from error


def check_models(config: Config) -> None:
    """Refuses, before any work, models that a later stage could not train.

    Raises:
        TrainingError: naming the model and what is expected of it.
    """
    from .teacher.families import check_teacher  # here, for the teacher is built on this module

    load(AutoConfig, config.encoder)
    check_teacher(config.teacher)
    student, init = config.student, config.student.init
    if init == INIT_FROM_TEACHER:
        init = config.teacher.model
        if config.teacher.lora is not None or config.teacher.head != "probability":
            raise TrainingError(
                "student.init: a student starts from its teacher's layers only if that is a BERT encoder with one "
                "logit and without LoRA; name a pretrained encoder instead"
            )
    layers = _check_model(init, student.template)
    picked = [*student.layers]
    if student.split is not None:
        picked += [*student.split.interaction_layers, *(student.split.query_layers or ())]
    if max(picked) >= layers:
        raise TrainingError(f"{init}: has {layers} layers, the configuration picks {picked}")


def _check_model(model: str, template: InputTemplate) -> int:
    """The number of layers of a BERT model that has positions for the template's pairs."""
    found = load(AutoConfig, model)
    if found.model_type != "bert":
        raise TrainingError(f"{model}: expected a BERT encoder, found {found.model_type}")
    if template.max_tokens > found.max_position_embeddings:
        raise TrainingError(
            f"{model}: has {found.max_position_embeddings} positions, its template allows pairs of "
            f"{template.max_tokens} tokens: lower max_tokens"
        )
    return int(found.num_hidden_layers)


def _attention() -> str:
    """On a CPU and at the length of product texts, plain attention trains 1.5 times as fast as the fused one."""
    return "eager" if pick_device().type == "cpu" else "sdpa"


def _keep_layers(name: str, classifier: nn.Module, layers: Sequence[int]) -> None:
    encoder: Any = getattr(classifier.base_model, "encoder", None)
    present = getattr(encoder, "layer", None)
    if encoder is None or present is None:
        raise TrainingError(
            f"{name}: layers can be picked from BERT-like encoders, not from {type(classifier).__name__}"
        )
    if max(layers) >= len(present):
        raise TrainingError(f"{name}: has {len(present)} layers, the configuration picks {list(layers)}")
    encoder.layer = nn.ModuleList([present[i] for i in layers])
    config: Any = classifier.config
    config.num_hidden_layers = len(layers)

"""Any Hugging Face sequence classifier that reads query and product together: encoders and decoder LLMs, with LoRA."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from artifact import InputTemplate, Product

from ..config import Precision, Teacher
from ..device import autocast, pick_device, uses_bf16
from ..errors import TrainingError
from ..pretrained import load
from ..runs import read_json, write_json
from .inputs import Encoded, TextInputs

CLASSIFIER_FILE = "classifier.json"
LABELLED_TOGETHER = 64


class TextClassifier(nn.Module):
    """A sequence classifier with its own tokenizer, as a function from pairs to outputs.

    A saved folder is a Hugging Face checkpoint, or one of `peft` with the adapters and the head alone, with
    `classifier.json` beside it: the base model, the outputs, the template, the prompt.

    Args:
        model: the classifier, or its PeftModel.
        inputs: renders and encodes pairs for it.
        record: what `classifier.json` holds.
    """

    def __init__(self, model: nn.Module, inputs: TextInputs, record: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.record = record

    @classmethod
    def create(cls, settings: Teacher, outputs: int) -> Self:
        """From pretrained weights, with a head whose last layer is zero.

        Args:
            settings: names the model, the template, adapters and precision.
            outputs: how many of them a pair has.

        Raises:
            TrainingError: the model or its tokenizer cannot be loaded or used.
        """
        record = {
            "base": settings.model,
            "outputs": outputs,
            "bf16": settings.lora is not None and uses_bf16(pick_device(), settings.fit.precision),
            "lora": settings.lora is not None,
            "prompt": settings.prompt,
            "template": settings.template.model_dump(mode="json"),
        }
        model = _classifier(settings.model, record)
        inputs = TextInputs(
            load(AutoTokenizer, settings.model), settings.template, model, settings.prompt, settings.model
        )
        _zero_head(model, settings.model, outputs)
        if settings.gradient_checkpointing:
            if not model.supports_gradient_checkpointing:
                raise TrainingError(
                    f"{settings.model}: cannot checkpoint gradients; set gradient_checkpointing = false"
                )
            model.activation_checkpointing_enable({"use_reentrant": False})
        return cls(_adapted(model, settings) if settings.lora else model, inputs, record)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a folder written by `save`.

        Raises:
            TrainingError: a file is missing or damaged.
        """
        record = read_json(folder / CLASSIFIER_FILE)
        try:
            template = InputTemplate.model_validate(record["template"])
            source = record["base"] if record["lora"] else str(folder)
            model = _classifier(source, record)
            inputs = TextInputs(load(AutoTokenizer, str(folder)), template, model, record["prompt"], source)
        except (KeyError, ValidationError) as error:
            raise TrainingError(
                f"{folder / CLASSIFIER_FILE}: damaged; delete its folder and run its stage again"
            ) from error
        if record["lora"]:
            model = load(_Adapters(model), str(folder))
        return cls(model, inputs, record)

    def save(self, folder: Path) -> None:
        """Writes the checkpoint folder, `classifier.json` last."""
        folder.mkdir(parents=True, exist_ok=True)
        model: Any = self.model
        try:
            if isinstance(model, PeftModel):
                # the vocabulary is not changed: without this, peft would ask the hub whether it is
                model.save_pretrained(str(folder), save_embedding_layers=False)
            else:
                model.save_pretrained(folder)
        except SafetensorError as error:
            raise TrainingError(f"{folder}: cannot write the weights: {error}") from error
        self.inputs.tokenizer.save_pretrained(folder)
        write_json(folder / CLASSIFIER_FILE, self.record)

    def merge(self) -> None:
        """Adds the adapters to the weights that they adapt: the same outputs in less work."""
        if isinstance(self.model, PeftModel):
            model: Any = self.model
            self.model = model.merge_and_unload()

    def encode(self, pairs: Sequence[tuple[str, Product]]) -> list[Encoded]:
        """Token ids and types of pairs."""
        return self.inputs.encode(pairs)

    def forward(self, pairs: Sequence[Encoded], chunk: int = 32) -> Tensor:
        """Outputs, shape (pairs, outputs), float32, in the order given; run in chunks sorted by length."""
        device = next(self.model.parameters()).device
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]))
        outputs = []
        for start in range(0, len(order), chunk):
            feeds = self.inputs.collate([pairs[i] for i in order[start : start + chunk]])
            feeds = {name: tensor.to(device) for name, tensor in feeds.items()}
            outputs.append(self.model(**feeds).logits.float())
        inverse = torch.empty(len(order), dtype=torch.long)
        inverse[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(outputs)[inverse.to(device)]

    @torch.inference_mode()
    def logits(self, pairs: Sequence[tuple[str, Product]], precision: Precision = "fp32") -> NDArray[np.float32]:
        """Outputs of text pairs, shape (pairs, outputs), in evaluation mode."""
        if not pairs:
            return np.empty((0, self.record["outputs"]), np.float32)
        self.eval().to(pick_device())
        with autocast(pick_device(), precision):
            outputs: NDArray[np.float32] = self(self.encode(pairs), chunk=LABELLED_TOGETHER).cpu().numpy()
        return outputs


class _Adapters:
    """Loads saved adapters onto a model, in the form that `load` asks for."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def from_pretrained(self, folder: str) -> PeftModel:
        with _quiet():
            return _whole_precision(PeftModel.from_pretrained(self.model, folder))


def _classifier(source: str, record: dict[str, Any]) -> PreTrainedModel:
    """The classifier in evaluation mode; with adapters its frozen weights may be bfloat16."""
    dtype = torch.bfloat16 if record["bf16"] else torch.float32
    model: Any = load(
        AutoModelForSequenceClassification,
        source,
        ignore_mismatched_sizes=True,
        num_labels=record["outputs"],
        dtype=dtype,
    )
    config: Any = model.config
    config.use_cache = False
    classifier: PreTrainedModel = model
    return classifier


def _head_modules(model: PreTrainedModel) -> list[str]:
    """Names of the parts with weights outside the pretrained body."""
    body = model.base_model_prefix
    return [name for name, part in model.named_children() if name != body and any(True for _ in part.parameters())]


def _zero_head(model: PreTrainedModel, name: str, outputs: int) -> None:
    layers = [
        module
        for part in _head_modules(model)
        for module in model.get_submodule(part).modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs
    ]
    if not layers:
        raise TrainingError(f"{name}: expected a linear layer of {outputs} outputs as the head of the classifier")
    nn.init.zeros_(layers[-1].weight)
    if layers[-1].bias is not None:
        nn.init.zeros_(layers[-1].bias)


def _adapted(model: PreTrainedModel, settings: Teacher) -> PeftModel:
    assert settings.lora is not None
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=settings.lora.rank,
        lora_alpha=settings.lora.alpha,
        lora_dropout=settings.lora.dropout,
        target_modules=list(settings.lora.targets) or _linear_layers(model),
        modules_to_save=_head_modules(model),
    )
    try:
        with _quiet():
            adapted: Any = get_peft_model(model, lora)
    except ValueError as error:
        problem = str(error).partition("\n")[0]
        raise TrainingError(f"{settings.model}: lora.targets {list(settings.lora.targets)}: {problem}") from error
    return _whole_precision(adapted)


@contextmanager
def _quiet() -> Iterator[None]:
    """Passes over a warning by which transformers tells peft, not us, of another name for a property."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _linear_layers(model: PreTrainedModel) -> list[str]:
    """Names of the body's linear layers, as they are called within a transformer layer."""
    body: nn.Module = model.get_submodule(model.base_model_prefix)
    return sorted({name for name, module in body.named_modules() if isinstance(module, nn.Linear)})


def _whole_precision(model: Any) -> PeftModel:
    """Adapters and head in float32, whatever the frozen weights are in."""
    for parameter in model.parameters():
        if parameter.requires_grad or parameter.dtype == torch.float32:
            parameter.data = parameter.data.float()
    adapted: PeftModel = model
    return adapted

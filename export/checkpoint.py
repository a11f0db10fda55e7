"""Reads a Hugging Face checkpoint folder of a cross-encoder, and refuses by name what cannot be exported."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from numpy.typing import NDArray

from .attention import SPELLINGS, Spelling
from .bert import BertShape, build_bert, unlike_bert
from .errors import ExportError
from .families import FAMILIES, Family
from .graph import Arithmetic, Floats, Observed
from .head import choose_gains, describe_gains, one_logit
from .parity import Precision, check_operators, check_products
from .traced import TRACED_SPELLING, Traced, trace
from .weight_files import read_weights

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "config.json"
HEAD_SEED = 20
LARGEST_BYTES = 2_000_000_000
"""What one ONNX file holds, a little rounded down."""

SINGLE_LABEL_TYPES = (None, "single_label_classification")
"""`problem_type` of models whose outputs exclude each other."""

GENERATING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How transformers' names of generating models end."""

OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""As the first BERT checkpoints have them."""


@dataclass(frozen=True)
class Checkpoint:
    """A cross-encoder: the torch model that defines the right answer, and how it becomes a graph with one output."""

    folder: Path
    model: Any
    family: Family
    shape: BertShape
    tokenizer_path: Path
    seeded_head: bool

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table."""
        return int(self.model.config.vocab_size)

    @property
    def max_positions(self) -> int:
        """Longest pair that the model has positions for."""
        return self.family.max_positions(self.model.config)

    @property
    def spellings(self) -> tuple[Spelling, ...]:
        """Of the attention: those that a graph can be built in."""
        return (TRACED_SPELLING,) if self.family.traced else SPELLINGS

    @property
    def outputs(self) -> str:
        """For people: what became of several outputs; empty for one."""
        labels = self.model.config.id2label
        return describe_gains(self.shape.gains, [labels[i] for i in range(len(self.shape.gains))])

    def weights(self) -> dict[str, Floats]:
        """The weights under BERT's names as float32 arrays, as `build_bert` reads them; not of a traced family."""
        state = {name: value.detach().float().numpy() for name, value in self.model.state_dict().items()}
        weights = self.family.weights(state, self.model.config)
        types = "bert.embeddings.token_type_embeddings.weight"
        if not self.shape.token_types and types in weights:
            positions = "bert.embeddings.position_embeddings.weight"
            weights[positions] = weights[positions] + weights.pop(types)[0]
        return weights

    def build(
        self, arithmetic: Arithmetic, spelling: Spelling = "fused", expose_taps: bool = False
    ) -> tuple[onnx.ModelProto, dict[str, str]]:
        """The graph and its taps, as `build_bert` gives them."""
        if self.family.traced:
            return self._traced.build(arithmetic, expose_taps)
        return build_bert(self.weights(), self.shape, arithmetic, spelling, expose_taps)

    def check_operators(
        self, found: Counter[str], precision: Precision, spelling: Spelling, kept: Collection[str] = ()
    ) -> None:
        """Refuses an optimised graph of this checkpoint whose operators are not as they must be.

        Args:
            kept: tags of the operands that an int8 graph multiplies in fp32.

        Raises:
            ExportError: naming the operators.
        """
        products = self._products_of(kept, spelling)
        if self.family.traced:
            traced = self._traced
            check_products(found, traced.products - products, traced.operands - len(kept), precision)
            return
        more = Counter(unlike_bert(self.shape, precision == "int8"))
        more.update({"MatMulIntegerToFloat": -products, "QuantizeLinear": -len(kept), "Gemm": products})
        check_operators(found, self.shape.layers, precision, spelling, more)

    def _products_of(self, operands: Collection[str], spelling: Spelling) -> int:
        """How many products read them."""
        if not operands:
            return 0
        observed = Observed()
        self.build(observed, spelling)
        return sum(len(observed.weights[tag]) for tag in operands)

    def logits(self, feeds: Mapping[str, NDArray[np.int64]]) -> Floats:
        """What torch answers, made one logit: float32 of shape (n,). `feeds` holds int64 arrays (n, length)."""
        with torch.inference_mode():
            output = self.model(**{name: torch.from_numpy(feeds[name]) for name in self.shape.inputs})
            logits: Floats = one_logit(output.logits, self.shape.gains).numpy()
        return logits

    @cached_property
    def _traced(self) -> Traced:
        return trace(self.model, self.shape)


def load_checkpoint(
    folder: Path,
    say: Callable[[str], None],
    gains: Sequence[float] | None = None,
    tokenizer_path: Path | None = None,
    token_types: bool = True,
    seed_head: bool = True,
) -> Checkpoint:
    """Loads the configuration and weights of a sequence classifier of one of `FAMILIES`.

    Args:
        gains: of the outputs, where there are several. None: evenly spaced.
        tokenizer_path: None for the tokenizer.json beside the weights.
        token_types: whether the tokenizer tells the two texts apart; a model that cannot read this ignores it.
        seed_head: give a bare BERT encoder a random head and tell `say` loudly: good for measuring speed only.

    Raises:
        ExportError: a file is missing or damaged, the architecture is another one, a weight is missing or not finite.
    """
    tokenizer_path = tokenizer_path or folder / TOKENIZER_FILE
    family, raw = read_config(folder)
    if not tokenizer_path.is_file():
        raise ExportError(f"{tokenizer_path}: expected a Hugging Face checkpoint folder with this file; found none")
    weights_path, found = read_weights(folder)
    headless = not any(name.startswith("classifier.") for name in found)
    found = {_full_name(name, family.encoder if headless else ""): value for name, value in found.items()}
    if headless and not (seed_head and family.model_type == "bert"):
        raise ExportError(f"{weights_path}: expected a classifier head, found a bare encoder: it scores no pairs")
    model = _empty_model(folder / CONFIG_FILE, raw, family, headless)
    gains = choose_gains(_outputs(folder / CONFIG_FILE, model.config), gains)
    if headless:
        _seed_head(model)
        say(f"WARNING: {folder} has no classifier head; a RANDOM one was seeded: good for speed, not for scores")
    _load(model, found, weights_path, family, seeded=headless)
    types = token_types and family.reads_token_types(model.config)
    shape = replace(family.shape(model.config), token_types=types, gains=gains)
    return Checkpoint(folder, model, family, shape, tokenizer_path, headless)


def read_config(folder: Path) -> tuple[Family, dict[str, Any]]:
    """The family of a checkpoint, and its configuration with `model_type`.

    Raises:
        ExportError: there is none, or it says something that no graph is written for.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ExportError(f"{path}: expected a Hugging Face checkpoint folder with this file; found none")
    try:
        raw = json.loads(path.read_bytes())
        if not isinstance(raw, dict):
            raise TypeError("not an object")
    except (ValueError, TypeError) as error:
        raise ExportError(f"{path}: expected the configuration of a cross-encoder: {error}") from error
    model_type = raw.get("model_type", "bert")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        raise ExportError(
            f"{path}: expected model_type out of {', '.join(FAMILIES)}, found {model_type!r}: "
            "export knows no other sequence classifiers"
        )
    architectures = raw.get("architectures")
    if isinstance(architectures, list) and any(str(each).endswith(GENERATING) for each in architectures):
        raise ExportError(f"{path}: expected {family.classifier}, found {architectures[0]}: it writes text, no scores")
    own_code = raw.get("auto_map")
    if isinstance(own_code, dict) and "AutoModelForSequenceClassification" in own_code:
        raise ExportError(f"{path}: the model brings code of its own, {own_code['AutoModelForSequenceClassification']}")
    for key, (allowed, why) in family.supported.items():
        if (value := raw.get(key, allowed[0])) not in allowed:
            expected = " or ".join(repr(each) for each in allowed)
            raise ExportError(f"{path}: expected {key} {expected}, found {value!r}: {why}")
    return family, {**raw, "model_type": family.model_type}


def _outputs(path: Path, config: Any) -> int:
    """How many outputs the head has, refused where they are not classes of which one is right."""
    outputs = int(config.num_labels)
    if outputs > 1 and config.problem_type not in SINGLE_LABEL_TYPES:
        raise ExportError(
            f"{path}: {outputs} outputs of problem_type {config.problem_type!r} are not classes that exclude each "
            "other: no expected gain follows from them"
        )
    return outputs


def _empty_model(path: Path, raw: dict[str, Any], family: Family, headless: bool) -> Any:
    """The model of a configuration, its weights yet to come; one output where there is no head."""
    one = {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}} if headless else {}
    try:
        classifier = getattr(transformers, family.classifier)
        config = classifier.config_class.from_dict({**raw, **one})
        family.max_positions(config)
        with torch.device("meta"):
            model = classifier(config)
        size = 4 * sum(weight.numel() for weight in model.parameters())
        if size <= LARGEST_BYTES:
            model = classifier(config).eval()
    except Exception as error:  # the library checks fields with exceptions of its own
        raise ExportError(f"{path}: expected the configuration of a {family.model_type} model: {error}") from error
    if size > LARGEST_BYTES:
        raise ExportError(f"{path}: {size / 1e9:.1f} GB of weights in fp32: one ONNX file holds less than 2 GB")
    return model


def _load(model: Any, found: Mapping[str, torch.Tensor], path: Path, family: Family, seeded: bool) -> None:
    """Loads weights by name: all of them, but for a seeded head; a pooler that the class does not have is left out."""
    try:
        missing, unexpected = model.load_state_dict(found, strict=False)
    except RuntimeError as error:
        raise ExportError(f"{path}: its shapes disagree with config.json: {error}") from error
    missing = [name for name in missing if not (seeded and name.startswith("classifier."))]
    pooler = f"{family.encoder}pooler."
    unexpected = [name for name in unexpected if not name.endswith("position_ids") and not name.startswith(pooler)]
    if missing or unexpected:
        raise ExportError(
            f"{path}: expected the weights of {type(model).__name__}; "
            f"missing {missing[:3] or 'none'}, unknown {unexpected[:3] or 'none'}"
        )
    model.float()
    for name, value in model.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise ExportError(f"{path}: {name} holds NaN or infinity: the training run went wrong, do not use it")


def _full_name(name: str, encoder: str) -> str:
    """A weight's name as the classifier's state dict has it; a bare encoder's lack the prefix `encoder`."""
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return f"{encoder}{name}" if name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def _seed_head(model: Any) -> None:
    """Gives the classifier weights that spread logits over about one unit, the same in every run."""
    generator = torch.Generator().manual_seed(HEAD_SEED)
    with torch.no_grad():
        width = model.config.hidden_size
        model.classifier.weight.copy_(torch.randn(1, width, generator=generator) / width**0.5)
        model.classifier.bias.zero_()

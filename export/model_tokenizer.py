"""The tokenizer of a model from elsewhere: as a tokenizer.json, with the way in which it joins two texts.

transformers' own class reads it, so that what it changes when it loads is in the file that is written, and token ids
are those that the model was trained with.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import logging

from artifact import PairFormat

from .errors import ExportError

SAMPLE = ("red lamp", "desk lamp")
FEWEST_SHARE = 0.9
"""Tokens that a tokenizer must have for each row of the embeddings: tables are padded, but not by more."""


@dataclass(frozen=True, slots=True)
class ModelTokenizer:
    """A tokenizer.json, and how a pair is put together.

    Attributes:
        token_types: the model is told which of the two texts a token belongs to.
    """

    path: Path
    pair_format: PairFormat
    token_types: bool


def read_tokenizer(folder: Path, path: Path, rows: int, pad_id: int | None) -> ModelTokenizer:
    """Reads the tokenizer of a Hugging Face folder, fast or slow, and writes it to `path` as a tokenizer.json.

    Args:
        rows: of the model's embedding table.
        pad_id: the padding token of the model's configuration, if that says.

    Raises:
        ExportError: there is none, it cannot be made one of the tokenizers library, it joins texts in a way that
            templates cannot say, or it belongs to another vocabulary.
    """
    tokenizer = _load(folder)
    size = len(tokenizer)
    if not FEWEST_SHARE * rows <= size <= rows:
        raise ExportError(
            f"{folder}: the tokenizer has {size} tokens, the model {rows} embeddings: they do not belong together"
        )
    if tokenizer.pad_token is None:
        raise ExportError(f"{folder}: expected a tokenizer with a padding token; set pad_token in its configuration")
    if pad_id is not None and pad_id != tokenizer.pad_token_id:
        raise ExportError(
            f"{folder}: the tokenizer pads with token {tokenizer.pad_token_id}, {tokenizer.pad_token}, the model with "
            f"token {pad_id}: they do not belong together"
        )
    path.write_text(tokenizer.backend_tokenizer.to_str(pretty=True), "utf-8")
    form, types = _pair_format(tokenizer, folder)
    return ModelTokenizer(path, form, types)


def _load(folder: Path) -> Any:
    files = {path.name for path in folder.iterdir()}
    present = sorted(name for name in files if "token" in name or name.startswith("vocab") or name.endswith(".model"))
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what is wrong is said once, below
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # files that are missing, cut short or of another kind raise many types
        problem = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"{folder}: expected tokenizer.json, or files that transformers converts to one; of {present or 'none'} it "
            f"says: {problem}"
        ) from error
    finally:
        logging.set_verbosity(level)
    if not getattr(tokenizer, "is_fast", False):
        raise ExportError(
            f"{folder}: expected a tokenizer that the tokenizers library can run; {type(tokenizer).__name__}, of "
            f"{present}, cannot be converted: no tokenizer.json can be made"
        )
    return tokenizer


def _pair_format(tokenizer: Any, folder: Path) -> tuple[PairFormat, bool]:
    """What stands before, between and after two texts, and whether token types tell them apart."""
    encoded = tokenizer(*SAMPLE)
    tokens, owners = encoded.tokens(0), encoded.sequence_ids(0)
    first, second = ([i for i, owner in enumerate(owners) if owner == text] for text in (0, 1))
    if not first or not second or first[-1] > second[0] or None in owners[first[0] : first[-1]]:
        raise ExportError(f"{folder}: its tokenizer joins two texts as {' '.join(tokens)}: no template can say that")
    form = PairFormat(
        before=tuple(tokens[: first[0]]),
        between=tuple(tokens[first[-1] + 1 : second[0]]),
        after=tuple(tokens[second[-1] + 1 :]),
        pad=tokenizer.pad_token,
    )
    types = list(encoded.get("token_type_ids", []))
    if not any(types):
        return form, False
    if types != [int(i >= second[0]) for i in range(len(tokens))]:
        raise ExportError(f"{folder}: its tokenizer gives {' '.join(tokens)} the types {types}: not 0, then 1")
    return form, True

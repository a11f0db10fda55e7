"""The input template of a model from elsewhere: from a file, from the command line, or the title alone."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from artifact import InputTemplate, PairFormat

from .errors import ExportError

MAX_QUERY_TOKENS = 32
MAX_TOKENS = 128


def read_template(path: Path, pair_format: PairFormat) -> InputTemplate:
    """A template from a .json or .toml file: `fields`, `max_query_tokens`, `max_tokens`, as in a manifest.

    Raises:
        ExportError: naming the file and the key at fault.
    """
    try:
        text = path.read_text("utf-8")
        contents = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: expected a template in JSON or TOML: {error}") from error
    if not isinstance(contents, dict):
        raise ExportError(f"{path}: expected a template, an object with `fields`")
    if "pair_format" in contents:
        raise ExportError(f"{path}: pair_format is read from the model's own tokenizer: leave it out")
    return _template(contents, pair_format, str(path))


def template_of(
    pair_format: PairFormat,
    max_positions: int,
    fields: str | None = None,
    max_tokens: int | None = None,
    max_query_tokens: int | None = None,
) -> InputTemplate:
    """A template of what the command line says; without anything, the title in as many tokens as there is room for.

    Args:
        fields: such as `title:64,brand:8`; a field without a number may take all the room there is.

    Raises:
        ExportError: naming what cannot be.
    """
    max_tokens = min(MAX_TOKENS, max_positions) if max_tokens is None else max_tokens
    room = max_tokens - pair_format.special_tokens
    if room < 2:
        raise ExportError(f"{max_tokens} tokens leave no room for a query and a product")
    listed: list[dict[str, object]] = []
    for each in (fields or "title").split(","):
        name, _, limit = each.strip().partition(":")
        listed.append({"name": name, "max_tokens": limit or room - 1})
    contents = {
        "fields": listed,
        "max_query_tokens": min(MAX_QUERY_TOKENS, room // 2) if max_query_tokens is None else max_query_tokens,
        "max_tokens": max_tokens,
    }
    return _template(contents, pair_format, "the template")


def _template(contents: Mapping[str, Any], pair_format: PairFormat, source: str) -> InputTemplate:
    try:
        return InputTemplate.model_validate({**contents, "pair_format": pair_format})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExportError(f"{source}: at {where or 'the top'}: {first['msg']}") from error

"""Reads the weights beside a config.json: one safetensors file, shards that an index lists, or a pickle made safe."""

import json
from pathlib import Path, PurePosixPath, PureWindowsPath

import torch
from safetensors.torch import load_file

from .errors import ExportError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLE_FILE = "pytorch_model.bin"


def read_weights(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The file that the weights are named by in messages, and the weights.

    Raises:
        ExportError: no file holds weights, one is damaged, or an index leaves the folder.
    """
    if (folder / SINGLE_FILE).is_file():
        return folder / SINGLE_FILE, _read_safetensors(folder / SINGLE_FILE)
    if (folder / INDEX_FILE).is_file():
        return folder / INDEX_FILE, _read_shards(folder / INDEX_FILE)
    if (folder / PICKLE_FILE).is_file():
        return folder / PICKLE_FILE, _read_pickle(folder / PICKLE_FILE)
    raise ExportError(
        f"{folder / SINGLE_FILE}: expected a Hugging Face checkpoint folder with this file, or with "
        f"{INDEX_FILE} and its shards; found none"
    )


def _read_shards(index: Path) -> dict[str, torch.Tensor]:
    try:
        where = json.loads(index.read_bytes())["weight_map"]
        names = sorted({str(name) for name in where.values()})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ExportError(f"{index}: expected an object `weight_map` of weights to files: {error!r}") from error
    found: dict[str, torch.Tensor] = {}
    for name in names:
        if len(PurePosixPath(name).parts) != 1 or len(PureWindowsPath(name).parts) != 1 or name in ("", ".", ".."):
            raise ExportError(f"{index}: expected shards beside it, found the path {name!r}, which leaves the folder")
        if not (index.parent / name).is_file():
            raise ExportError(f"{index.parent / name}: expected the shard that {index.name} lists; found none")
        found.update(_read_safetensors(index.parent / name))
    if absent := sorted(where.keys() - found.keys()):
        raise ExportError(f"{index}: expected its shards to hold {absent[0]}; they do not")
    return found


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        found: dict[str, torch.Tensor] = load_file(path)
    except Exception as error:  # the library raises an exception type of its own
        raise ExportError(f"{path}: damaged or cut short, copy it again: {error}") from error
    return found


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    """A pickle of tensors alone: torch's reader runs no code of it."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a refused global, a broken archive and a cut file raise different types
        problem = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"{path}: expected a pickle that holds tensors and nothing else, or better {SINGLE_FILE}: {problem}"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ExportError(f"{path}: expected a dictionary of tensors; save the model again as {SINGLE_FILE}")
    return found

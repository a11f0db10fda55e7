"""Writes an artifact folder whole or not at all."""

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from .errors import ArtifactError
from .loading import MANIFEST_FILE, load_artifact
from .manifest import Manifest, derive_version

MODEL_CARD_FILE = "MODEL_CARD.md"
TOKENIZER_FILE = "tokenizer.json"
OWN_FILES = (MANIFEST_FILE, MODEL_CARD_FILE, TOKENIZER_FILE)


def write_artifact(folder: Path, contents: dict[str, Any], files: dict[str, Path], model_card: str) -> Manifest:
    """Writes manifest, model card and files to a new folder beside `folder`, verifies it, then puts it in place.

    Args:
        folder: where the artifact goes; an artifact that stands there is replaced at the end, not before.
        contents: the manifest's fields without `version`, which is derived.
        files: name in the artifact -> file to copy (ONNX variants, tokenizer).
        model_card: Markdown for people.

    Raises:
        ArtifactError: `folder` holds something other than an artifact, or what was written does not verify.
            Nothing is left behind, `folder` is as it was.
    """
    draft = Manifest.model_validate({**contents, "version": "0" * 16})
    version = derive_version(draft.model_dump(mode="json"))
    manifest = draft.model_copy(update={"version": version})
    folder = folder.resolve()
    if folder.exists() and not _may_be_replaced(folder):
        raise ArtifactError(folder, "expected an artifact folder to replace, an empty folder, or nothing")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    new.mkdir()
    try:
        for name, source in files.items():
            shutil.copyfile(source, new / name)
        (new / MODEL_CARD_FILE).write_text(model_card)
        text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (new / MANIFEST_FILE).write_text(text + "\n")
        load_artifact(new)
        _replace(folder, new)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return manifest


def _may_be_replaced(folder: Path) -> bool:
    """Whether all that would be lost is an artifact: other things have a manifest.json too."""
    if not folder.is_dir():
        return False
    found = list(folder.iterdir())
    ours = all(path.is_file() and (path.name in OWN_FILES or path.suffix == ".onnx") for path in found)
    return not found or (ours and (folder / MANIFEST_FILE).exists())


def _replace(folder: Path, new: Path) -> None:
    """Moves `new` to `folder`, keeping what stood there until the move is done."""
    if not folder.exists():
        new.rename(folder)
        return
    old = folder.parent / f"{new.name}.old"
    folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)  # the new one stands: what is left of the old one is no failure

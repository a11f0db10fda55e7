"""Changes to a copy of an artifact, its hashes and version brought up to date unless asked not to."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from artifact.manifest import derive_version


def copy_of(artifact: Path, folder: Path) -> Path:
    shutil.copytree(artifact, folder)
    return folder


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the manifest and derives its version again."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps({**manifest, "version": derive_version(manifest)}))


def edit_graph(folder: Path, variant: str, change: Callable[[onnx.ModelProto], object]) -> None:
    """Changes a variant's graph; the manifest follows."""
    model = onnx.load(str(folder / f"{variant}.onnx"))
    change(model)
    replace_file(folder, variant, model.SerializeToString())


def replace_file(folder: Path, variant: str, contents: bytes) -> None:
    """Puts another file in a variant's place; the manifest follows."""
    (folder / f"{variant}.onnx").write_bytes(contents)
    facts = {"size_bytes": len(contents), "sha256": hashlib.sha256(contents).hexdigest()}
    edit_manifest(folder, lambda manifest: entry(manifest, variant).update(facts))


def replace_tokenizer(folder: Path, contents: str) -> None:
    """Puts another tokenizer in place; the manifest follows."""
    (folder / "tokenizer.json").write_text(contents)
    digest = hashlib.sha256(contents.encode()).hexdigest()
    edit_manifest(folder, lambda manifest: manifest["tokenizer"].update(sha256=digest))


def entry(manifest: dict[str, Any], variant: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in manifest["variants"] if each["name"] == variant)
    return found


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path

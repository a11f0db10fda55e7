"""Reads an artifact folder and refuses one that is not exactly what its manifest says."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from .errors import ArtifactError
from .manifest import SCHEMA_VERSION, Manifest, TokenizerFile, Variant, derive_version
from .self_contained import check_self_contained
from .tokenisation import PairTokenizer

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified artifact: its folder, manifest and tokenizer."""

    folder: Path
    manifest: Manifest
    tokenizer: PairTokenizer

    def variant_path(self, name: str) -> Path:
        """The ONNX file of a variant.

        Raises:
            ArtifactError: the manifest has no such variant.
        """
        variant = self.manifest.variant(name)
        if variant is None:
            present = ", ".join(v.name for v in self.manifest.variants)
            raise ArtifactError(self.folder / MANIFEST_FILE, f"expected a variant {name!r}; it has {present}")
        return self.folder / variant.file


def load_artifact(folder: Path) -> Artifact:
    """Loads and verifies an artifact: schema, version, hashes and sizes, no external data, tokenizer against model.

    Raises:
        ArtifactError: naming the file and what was expected of it.
    """
    manifest = read_manifest(folder)
    for variant in manifest.variants:
        check_variant_bytes(folder, variant)
        for graph in variant.graphs():
            check_self_contained(folder / graph.file)
    check_tokenizer_bytes(folder, manifest.tokenizer)
    return Artifact(folder, manifest, open_tokenizer(folder, manifest))


def check_variant_bytes(folder: Path, variant: Variant) -> None:
    """Compares a variant's files with their sizes and hashes.

    Raises:
        ArtifactError: one differs, or is not there.
    """
    for graph in variant.graphs():
        path = folder / graph.file
        size = _size(path)
        if size != graph.size_bytes:
            raise ArtifactError(path, f"expected {graph.size_bytes} bytes, found {size}: copy the artifact again")
        _check_hash(path, graph.sha256)


def check_tokenizer_bytes(folder: Path, tokenizer: TokenizerFile) -> None:
    """Compares the tokenizer's file with its hash.

    Raises:
        ArtifactError: it differs, or is not there.
    """
    path = folder / tokenizer.file
    _size(path)
    _check_hash(path, tokenizer.sha256)


def open_tokenizer(folder: Path, manifest: Manifest) -> PairTokenizer:
    """The artifact's tokenizer, its file taken as it is.

    Raises:
        ArtifactError: it cannot be read, lacks a special token, or has more tokens than the model has embeddings.
    """
    path = folder / manifest.tokenizer.file
    tokenizer = PairTokenizer(path, manifest.template)
    if tokenizer.vocab_size > manifest.tokenizer.vocab_size:
        raise ArtifactError(
            path,
            f"expected at most {manifest.tokenizer.vocab_size} tokens, the rows of the model's embedding table, "
            f"found {tokenizer.vocab_size}: tokenizer and model do not belong together",
        )
    return tokenizer


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest and checks its schema and version, without touching the other files.

    Raises:
        ArtifactError: naming the field at fault.
    """
    path = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise ArtifactError(folder, "expected an artifact folder")
    try:
        contents = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ArtifactError(path, "expected a manifest in an artifact folder, found no such file") from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError(path, f"expected JSON: {error}") from error
    found = contents.get("schema_version") if isinstance(contents, dict) else None
    if found != SCHEMA_VERSION:
        raise ArtifactError(path, f"expected schema_version {SCHEMA_VERSION}, found {found!r}: export it again")
    try:
        manifest = Manifest.model_validate(contents)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(path, f"at {where or 'the top'}: {first['msg']}") from error
    expected = derive_version(contents)
    if manifest.version != expected:
        raise ArtifactError(path, f"expected version {expected} for these contents, found {manifest.version}")
    return manifest


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise ArtifactError(path, "expected the file that the manifest lists, found none") from None


def _check_hash(path: Path, expected: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise ArtifactError(
            path,
            f"expected sha256 {expected}, found {found}: the file was changed or cut short, copy the artifact again",
        )

"""Gives a finished artifact another manifest."""

from pathlib import Path
from typing import Any

from artifact import ArtifactError, Manifest, write_artifact
from artifact.writing import MODEL_CARD_FILE, TOKENIZER_FILE


def rewrite(folder: Path, manifest: Manifest, contents: dict[str, Any]) -> Manifest:
    """Gives an artifact another manifest; its files stay.

    Raises:
        ArtifactError: it cannot be written, or would not verify. It is as it was.
    """
    files = {graph.file: folder / graph.file for variant in manifest.variants for graph in variant.graphs()}
    files[TOKENIZER_FILE] = folder / manifest.tokenizer.file
    try:
        card = (folder / MODEL_CARD_FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise ArtifactError(folder, f"cannot read its model card: {error}") from error
    return write_artifact(folder, contents, files, card)

"""Measures an artifact's latency tables again, on the machine that will serve it: `python -m export latency`."""

from pathlib import Path
from typing import Any

from artifact import LatencyPoint, Manifest, Variant, load_artifact

from .compile import Say
from .latency import describe, measure_latency
from .rewriting import rewrite
from .split.latency import measure_interaction, measure_product_encoder
from .split.runtime import SplitModel


def remeasure(folder: Path, say: Say) -> Manifest:
    """Measures an artifact's CPU variants on this machine and puts the tables into its manifest.

    Version, files and scores stay.

    Raises:
        ArtifactError: the folder is not a sound artifact, or cannot be written.
        ExportError: ONNX Runtime refuses a graph.
    """
    manifest = load_artifact(folder).manifest
    contents: dict[str, Any] = manifest.model_dump(mode="json", exclude={"version"})
    for variant, described in zip(manifest.variants, contents["variants"], strict=True):
        if variant.device == "cpu":
            for name, points in _tables(folder, manifest, variant).items():
                described[name] = [point.model_dump() for point in points]
                say(f"{variant.name}, {name.replace('_', ' ')}: {describe(points)}")
    return rewrite(folder, manifest, contents)


def _tables(folder: Path, manifest: Manifest, variant: Variant) -> dict[str, list[LatencyPoint]]:
    """The variant's tables by their names in the manifest."""
    sizes = (manifest.template.max_tokens, manifest.tokenizer.vocab_size)
    if manifest.architecture == "split":
        model = SplitModel.read(folder, variant)
        return {
            "latency": measure_interaction(model, *sizes),
            "product_latency": measure_product_encoder(model, *sizes),
        }
    return {"latency": measure_latency((folder / variant.file).read_bytes(), *sizes)}

"""What an export says of its checks, and the artifact folder that it writes."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifact import ArtifactError, LatencyPoint, Manifest, StateLayout, write_artifact
from artifact.loading import sha256_of
from artifact.writing import TOKENIZER_FILE

from .card import model_card
from .errors import ExportError
from .parity import TOLERANCE
from .schemes import Choice

SMALLEST_INT8_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished variant.

    Attributes:
        graphs: ONNX bytes by the manifest's names of them; "" is the variant's own, the one that gives logits.
        latency, product_latency: tables, see manifest.py.
    """

    name: str
    device: str
    precision: str
    graphs: Mapping[str, bytes]
    choices: Mapping[str, str]
    golden_tolerance: float
    latency: Sequence[LatencyPoint] = ()
    states: StateLayout | None = None
    product_latency: Sequence[LatencyPoint] = ()


def torch_note(difference: float, pairs: int) -> str:
    """How close fp32 is to torch."""
    return f"fp32 against torch: at most {difference:.1g} apart on {pairs} pairs (limit {TOLERANCE:g})."


def int8_notes(choice: Choice, pairs: int, errors: NDArray[np.float64]) -> list[str]:
    """How int8 was chosen, and how close it is to fp32; `errors` are those of the logits of so many pairs."""
    notes = [f"int8 ranges by {choice}."]
    if choice.faithfulness:
        notes.append(f"int8 against fp32 on candidate lists: {choice.faithfulness}.")
    if choice.sensitivity:
        notes.append(f"RMS error of the logits with one operand in int8: {_table(choice.sensitivity)}.")
    return [
        *notes,
        f"int8 against fp32: logits {_rms(errors):.3g} apart (root mean square), at most {errors.max():.3g}, "
        f"on {pairs} pairs.",
    ]


def _table(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def int8_tolerance(errors: NDArray[np.float64]) -> float:
    """Room for a processor that rounds some activations the other way. Products that overflow may stay within it."""
    return max(SMALLEST_INT8_TOLERANCE, 3 * _rms(errors))


def _rms(errors: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def write_outcome(
    out: Path,
    contents: dict[str, Any],
    tokenizer_path: Path,
    vocab_size: int,
    variants: Sequence[Outcome],
    notes: Sequence[str],
) -> Manifest:
    """Writes the artifact.

    Args:
        contents: the manifest's fields but for variants and tokenizer.
        notes: how it was checked, one sentence each.

    Raises:
        ExportError: it cannot be written, or does not verify.
    """
    with tempfile.TemporaryDirectory() as temporary:
        files = {TOKENIZER_FILE: tokenizer_path}
        described = [_described(variant, Path(temporary), files) for variant in variants]
        tokenizer_file = {"sha256": sha256_of(tokenizer_path), "vocab_size": vocab_size}
        contents = {**contents, "variants": described, "tokenizer": tokenizer_file}
        draft = Manifest.model_validate({**contents, "version": "0" * 16})
        try:
            return write_artifact(out, contents, files, model_card(draft, notes))
        except (ArtifactError, OSError) as error:
            raise ExportError(f"cannot write the artifact: {error}") from error


def _described(variant: Outcome, folder: Path, files: dict[str, Path]) -> dict[str, Any]:
    """The manifest's entry of a variant, whose graphs are written to the folder and added to `files`."""
    entry: dict[str, Any] = {
        "name": variant.name,
        "device": variant.device,
        "precision": variant.precision,
        "choices": dict(variant.choices),
        "golden_tolerance": variant.golden_tolerance,
        "latency": variant.latency,
        "states": variant.states,
        "product_latency": variant.product_latency,
    }
    for name, model in variant.graphs.items():
        file = ".".join((variant.name, *([name.replace("_", "-")] if name else []), "onnx"))
        files[file] = folder / file
        files[file].write_bytes(model)
        graph = {"file": file, "size_bytes": len(model), "sha256": sha256_of(files[file])}
        entry.update({name: graph} if name else graph)
    return entry

"""From a checkpoint to checked ONNX variants: builds the fp32 graph, measures ranges, builds the int8 graph."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from .bert import build_bert
from .checkpoint import Checkpoint
from .errors import ExportError
from .graph import Float32, serialise
from .parity import Precision, check_against_torch, check_operators
from .quantise import Int8
from .ranges import METHODS, measure
from .runtime import EncodedPairs, Run, logits_of, open_session, optimised_operators

Say = Callable[[str], None]

MIN_CALIBRATION_PAIRS = 64
RANGE_PAIRS = 512
"""Pairs that ranges are measured on, and again as many that choose between the methods."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One variant: its ONNX bytes and an open session."""

    name: str
    precision: Precision
    model: bytes
    session: ort.InferenceSession

    @property
    def run(self) -> Run:
        """Feeds to logits."""
        return logits_of(self.session)


@dataclass(frozen=True, slots=True)
class RangeChoice:
    """Which way of setting ranges was taken, and each way's root mean square error of the logits."""

    method: str
    errors: dict[str, float]

    def __str__(self) -> str:
        others = ", ".join(f"{name} {error:.4f}" for name, error in self.errors.items())
        return f"{self.method} (RMS error of the logits: {others})"


def compile_fp32(checkpoint: Checkpoint, parity_pairs: EncodedPairs, say: Say) -> tuple[Compiled, float]:
    """The fp32 variant and its largest difference from torch.

    Raises:
        ExportError: it differs from torch by more than 1e-4, or operators are not as expected.
    """
    model, _ = build_bert(checkpoint.weights(), checkpoint.shape, Float32())
    compiled = _compiled("cpu-fp32", "fp32", serialise(model), checkpoint)
    worst = check_against_torch(checkpoint, compiled.run, parity_pairs)
    say(f"fp32 agrees with torch to {worst:.1g} on {len(parity_pairs)} pairs")
    return compiled, worst


def compile_int8(
    checkpoint: Checkpoint, fp32: Compiled, range_pairs: EncodedPairs, choice_pairs: EncodedPairs, say: Say
) -> tuple[Compiled, RangeChoice]:
    """The static int8 variant with the ranges that come closest to fp32.

    Args:
        range_pairs: ranges are measured on these.
        choice_pairs: the method with the smallest logit error on these is taken.
    """
    weights, shape = checkpoint.weights(), checkpoint.shape
    exposed, taps = build_bert(weights, shape, Float32(), expose_taps=True)
    histograms = measure(open_session(serialise(exposed)), taps, range_pairs)
    say(f"measured {len(taps)} activation ranges on {len(range_pairs)} pairs")
    expected = choice_pairs.logits(fp32.run)
    errors: dict[str, float] = {}
    models: dict[str, bytes] = {}
    for name, cover in METHODS.items():
        ranges = {tag: cover(histogram) for tag, histogram in histograms.items()}
        models[name] = serialise(build_bert(weights, shape, Int8(ranges))[0])
        found = choice_pairs.logits(logits_of(open_session(models[name])))
        errors[name] = float(np.sqrt(np.mean((found - expected) ** 2)))
    choice = RangeChoice(min(errors, key=lambda name: errors[name]), errors)
    say(f"int8 ranges by {choice}")
    return _compiled("cpu-int8", "int8", models[choice.method], checkpoint), choice


def check_pairs_suffice(pairs: int) -> None:
    """Refuses so few pairs that the ranges would clip what the service sees.

    Raises:
        ExportError: fewer than 64.
    """
    if pairs < MIN_CALIBRATION_PAIRS:
        raise ExportError(
            f"expected at least {MIN_CALIBRATION_PAIRS} calibration pairs to measure int8 ranges on, got {pairs}: "
            "take more unlabelled training pairs"
        )


def _compiled(name: str, precision: Precision, model: bytes, checkpoint: Checkpoint) -> Compiled:
    check_operators(optimised_operators(model), checkpoint.shape.layers, precision)
    return Compiled(name, precision, model, open_session(model))

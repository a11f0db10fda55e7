"""The variant cuda-fp16 of an export: run where there is a GPU, else evaluated in numpy on the golden pairs."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Literal

import numpy as np
import onnxruntime as ort

from .bert import BertShape
from .checkpoint import Checkpoint
from .compile import Say
from .cuda import build_cuda
from .cuda_reference import reference_run
from .cuda_runtime import bound, gpu_is_present, open_cuda_session
from .errors import ExportError
from .graph import serialise
from .runtime import EncodedPairs, Run

NAME = "cuda-fp16"
CUDA_TOLERANCE = 1e-2
"""Largest |fp16 logit - fp32 logit|."""


@dataclass(frozen=True, slots=True)
class CudaVariant:
    """The variant's ONNX bytes, the logits that it promises (fp32's), and how it was checked."""

    model: bytes
    golden: list[float]
    note: str
    name: str = NAME
    precision: Literal["fp16"] = "fp16"
    choices: Mapping[str, str] = field(default_factory=lambda: {"padding": "removed"})


def compile_cuda(checkpoint: Checkpoint, fp32: Run, golden: EncodedPairs, pairs: EncodedPairs, say: Say) -> CudaVariant:
    """Builds the variant and compares it with fp32.

    Args:
        golden: the golden pairs, what is compared without a GPU.
        pairs: what is compared on a GPU.

    Raises:
        ExportError: it is no BERT with one output, a weight is outside fp16's range, or a logit is more than 1e-2 from
            fp32's.
    """
    check_family(checkpoint)
    built = build_cuda(checkpoint.weights(), checkpoint.shape)
    model = serialise(built)
    if gpu_is_present():
        compared, run, where = pairs, bound(open_cuda_session(model)), f"run on a GPU by ONNX Runtime {ort.__version__}"
    else:
        compared, run = golden, reference_run(built)
        where = "not run on a GPU at export: evaluated operator by operator in numpy"
    worst = check_against_fp32(compared, run, fp32)
    note = f"{NAME}, {where}: logits at most {worst:.2g} from fp32 on {len(compared)} pairs (limit {CUDA_TOLERANCE:g})."
    say(note)
    return CudaVariant(model, golden.logits(fp32).tolist(), note)


def check_family(checkpoint: Checkpoint) -> None:
    """Refuses a checkpoint that the graph is not written for.

    Raises:
        ExportError: it is no BERT with one output and the exact GELU.
    """
    plain = BertShape(*astuple(checkpoint.shape)[:5])
    if checkpoint.family.model_type != "bert" or checkpoint.shape != plain:
        raise ExportError(
            f"{NAME} is written for BERT with one output and the exact GELU, not for this "
            f"{checkpoint.family.model_type}: leave this variant out"
        )


def check_against_fp32(pairs: EncodedPairs, run: Run, fp32: Run) -> float:
    """The largest |fp16 logit - fp32 logit| over the pairs.

    Raises:
        ExportError: it is over 1e-2, or a logit is not finite.
    """
    worst = float(np.abs(pairs.logits(run) - pairs.logits(fp32)).max())
    if not worst <= CUDA_TOLERANCE:
        raise ExportError(
            f"{NAME} and fp32 differ by {worst:.2g} in a logit; at most {CUDA_TOLERANCE:g} is allowed: "
            "leave this variant out"
        )
    return worst

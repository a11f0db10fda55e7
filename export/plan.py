"""What is exported, of either architecture, and what of its plan is the same for both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from artifact import ArtifactError, Calibration, InputTemplate, Lineage, PairTokenizer, Product

from .attention import Spelling
from .calibrate import fit_platt
from .checkpoint import Checkpoint
from .compile import RANGE_PAIRS, check_pairs_suffice
from .cuda_variant import NAME as CUDA_FP16
from .errors import ExportError
from .evaluation import Evaluate, ScoringFunction
from .faithful import MAX_NDCG_LOSS
from .runtime import Pair
from .split.checkpoint import SplitCheckpoint

INT8 = "cpu-int8"
VARIANTS = ("cpu-fp32", "cpu-int8")
ALL_VARIANTS = (*VARIANTS, CUDA_FP16)
TORCH_PAIRS = 256
"""Calibration pairs that torch scores beside the golden ones."""


class Tokenised(Protocol):
    """What a tokenizer must fit."""

    @property
    def tokenizer_path(self) -> Path: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def max_positions(self) -> int: ...


@dataclass(frozen=True)
class StudentExport:
    """What is exported, and what it is checked against.

    | field | use |
    |---|---|
    | `checkpoint` | folder of a Hugging Face checkpoint with tokenizer.json, or of a split student; or either loaded |
    | `calibration_pairs` | unlabelled training pairs, at least 64: ranges, parity, independence, reference scores |
    | `dev_pairs` | (query, product, human soft target in 0 to 1): Platt calibration. Empty: the identity |
    | `lists` | labelled candidate lists: int8 must rank them as fp32 does. Empty: that is not asked |
    | `evaluate` | metrics of a scoring function, called once for each variant. None: no evaluation and no gate |
    | `variants` | which variants' files go into the folder; cpu-fp32 is always built and checked |
    | `attention` | its spelling, of a split student in its encoders. None: the faster one here |
    | `max_ndcg_loss` | the export is refused if int8 loses more in any metric whose name begins with nDCG |
    """

    checkpoint: Path | Checkpoint | SplitCheckpoint
    name: str
    template: InputTemplate
    lineage: Lineage
    calibration_pairs: Sequence[Pair]
    dev_pairs: Sequence[tuple[str, Product, float]] = ()
    dev_data: str = "development pairs with human targets"
    calibration_data: str = "unlabelled training pairs"
    lists: Sequence[tuple[Sequence[Pair], Sequence[float]]] = ()
    evaluate: Evaluate | None = None
    variants: Sequence[str] = VARIANTS
    attention: Spelling | None = None
    max_ndcg_loss: float = MAX_NDCG_LOSS


def check_plan(plan: StudentExport) -> None:
    """Refuses what can be told to fail before anything is computed.

    Raises:
        ExportError: saying what to change.
    """
    unknown = [name for name in plan.variants if name not in ALL_VARIANTS]
    if unknown or not plan.variants:
        raise ExportError(f"expected variants out of {', '.join(ALL_VARIANTS)}; got {', '.join(unknown) or 'none'}")
    if not plan.name:
        raise ExportError("expected a name for the model, got an empty one")
    check_pairs_suffice(len(plan.calibration_pairs))


def open_tokenizer(checkpoint: Tokenised, template: InputTemplate) -> PairTokenizer:
    """The checkpoint's tokenizer.

    Raises:
        ExportError: it cannot be read, or does not fit the embeddings, or the template the positions.
    """
    try:
        tokenizer = PairTokenizer(checkpoint.tokenizer_path, template)
    except ArtifactError as error:
        raise ExportError(str(error)) from error
    if tokenizer.vocab_size > checkpoint.vocab_size:
        raise ExportError(
            f"{checkpoint.tokenizer_path}: {tokenizer.vocab_size} tokens for {checkpoint.vocab_size} embeddings: "
            "tokenizer and model do not belong together"
        )
    if template.max_tokens > checkpoint.max_positions:
        raise ExportError(
            f"the template allows pairs of {template.max_tokens} tokens, the model has {checkpoint.max_positions} "
            "positions: lower max_tokens"
        )
    return tokenizer


def range_pairs(pairs: Sequence[Pair]) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Two disjoint, evenly spread samples: one to measure ranges on, one to choose the method on."""
    count = min(RANGE_PAIRS, len(pairs) // 2)
    picked = np.linspace(0, len(pairs) - 1, 2 * count).astype(int)
    return [pairs[i] for i in picked[::2]], [pairs[i] for i in picked[1::2]]


def calibrate(plan: StudentExport, score: ScoringFunction) -> Calibration:
    """Fitted on the plan's judged pairs; the identity without them.

    Raises:
        ExportError: as `fit_platt`.
    """
    if not plan.dev_pairs:
        return Calibration()
    logits = score([(query, product) for query, product, _ in plan.dev_pairs])
    return fit_platt(logits, [target for _, _, target in plan.dev_pairs], plan.dev_data)

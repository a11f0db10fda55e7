"""From a checkpoint to checked ONNX variants: fp32, measured ranges, int8, each in its faster spelling."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnxruntime as ort

from .attention import SPELLINGS, Spelling
from .checkpoint import Checkpoint
from .errors import ExportError
from .faithful import Lists
from .graph import Arithmetic, Float32, Observed, serialise
from .parity import Precision, check_against_torch
from .quantise import Int8, Scheme
from .ranges import measure
from .runtime import EncodedPairs, Run, logits_of, open_session, optimised_operators, run_all
from .schemes import Choice, Search
from .timing import in_turn

Say = Callable[[str], None]

MIN_CALIBRATION_PAIRS = 64
RANGE_PAIRS = 512
"""Pairs that ranges are measured on, and again as many that choose between the methods."""

TIMED_BATCHES = 8
ROUNDS = 25
MARGIN = 0.05
SHARE = 0.8
"""By how much, and in which share of the rounds, the second spelling must be faster to be taken: noise must not change
the bytes of an export."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """One variant: its ONNX bytes, an open session, and what was chosen by measuring."""

    name: str
    precision: Precision
    model: bytes
    session: ort.InferenceSession
    choices: Mapping[str, str]

    @property
    def run(self) -> Run:
        """Feeds to logits."""
        return logits_of(self.session)


def compile_fp32(
    checkpoint: Checkpoint, parity_pairs: EncodedPairs, say: Say, spelling: Spelling | None = None
) -> tuple[Compiled, float]:
    """The fp32 variant and its largest difference from torch.

    Args:
        parity_pairs: also the ones that spellings are timed on.
        spelling: of the attention. None: the faster one here.

    Raises:
        ExportError: it differs from torch by more than 1e-4, or operators are not as expected.
    """
    compiled = _fastest("cpu-fp32", "fp32", checkpoint, Float32(), parity_pairs, spelling, say)
    worst = check_against_torch(checkpoint, compiled.run, parity_pairs)
    say(f"fp32 agrees with torch to {worst:.1g} on {len(parity_pairs)} pairs")
    return compiled, worst


def compile_int8(
    checkpoint: Checkpoint,
    fp32: Compiled,
    range_pairs: EncodedPairs,
    choice_pairs: EncodedPairs,
    say: Say,
    spelling: Spelling | None = None,
    lists: Lists[Run] | None = None,
) -> tuple[Compiled, Choice]:
    """The static int8 variant with the scheme that comes closest to fp32.

    Args:
        range_pairs: activations are measured on these.
        choice_pairs: the way of setting ranges with the smallest logit error on these is taken.
        spelling: of the attention. None: the faster one here.
        lists: what int8 must rank as fp32 does. None: that is not asked.

    Raises:
        ExportError: no scheme does, or operators are not as expected.
    """
    observed = Observed()
    exposed, taps = checkpoint.build(observed, expose_taps=True)
    session = open_session(serialise(exposed))
    say(f"measuring {len(taps)} activation ranges on {len(range_pairs)} pairs")

    def build(scheme: Scheme) -> Run:
        return logits_of(open_session(serialise(checkpoint.build(Int8(scheme))[0])))

    choice = Search(
        build, partial(measure, session, taps, range_pairs), observed.weights, fp32.run, choice_pairs, lists, say
    ).run()
    say(f"int8 ranges by {choice}")
    compiled = _fastest(
        "cpu-int8", "int8", checkpoint, Int8(choice.scheme), choice_pairs, spelling, say, choice.scheme.kept
    )
    return replace(compiled, choices={**compiled.choices, **choice.choices()}), choice


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


def _fastest(
    name: str,
    precision: Precision,
    checkpoint: Checkpoint,
    arithmetic: Arithmetic,
    pairs: EncodedPairs,
    spelling: Spelling | None,
    say: Say,
    kept: Collection[str] = (),
) -> Compiled:
    """The graph in the spelling that is asked for, or the faster one here, its operators checked."""
    tried: dict[Spelling, Compiled] = {}
    for each in checkpoint.spellings if spelling is None else (spelling,):
        model = serialise(checkpoint.build(arithmetic, each)[0])
        checkpoint.check_operators(optimised_operators(model), precision, each, kept)
        tried[each] = Compiled(name, precision, model, open_session(model), {"attention": each, **_gains(checkpoint)})
    if len(tried) == 1:
        return next(iter(tried.values()))
    batches = pairs.micro_batches()
    feeds = [pairs.feeds(rows) for rows in batches[:: -(-len(batches) // TIMED_BATCHES)]]
    seconds = in_turn({each: partial(run_all, compiled.run, feeds) for each, compiled in tried.items()}, ROUNDS)
    first, second = SPELLINGS
    faster = np.array(seconds[second]) < (1 - MARGIN) * np.array(seconds[first])
    chosen = second if faster.mean() >= SHARE else first
    times = ", ".join(f"{each} {1e3 * float(np.median(taken)):.1f} ms" for each, taken in seconds.items())
    say(f"{name}: attention {chosen} ({times}, {len(feeds)} micro-batches on one thread)")
    return tried[chosen]


def _gains(checkpoint: Checkpoint) -> dict[str, str]:
    gains = checkpoint.shape.gains
    return {"gains": ",".join(map(str, gains))} if gains else {}

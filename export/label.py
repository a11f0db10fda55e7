"""Labels a run's candidate lists by its teacher in ONNX Runtime, where that is faster than torch on this machine.

The teacher's cross-encoder is built by the code that exports students; what it adds to that (its similarity, its
calibration) stays where it is, in `training.teacher`. Which engine labels is chosen once a run, by timing pairs of the
run, and stands in `engine.json` beside the labels, so that a run which was killed goes on with the same one.
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from training.cross_encoder import CrossEncoder
from training.label import TORCH, Scorer, label, teacher_engine
from training.mining import mined_shards
from training.runs import Run, commit, read_run
from training.tables import read_shard
from training.teacher.teacher import TeacherLabeller

from .attention import Spelling
from .checkpoint import load_checkpoint
from .compile import RANGE_PAIRS, Compiled, Say, check_pairs_suffice, compile_fp32, compile_int8
from .errors import ExportError
from .progress import Progress
from .runtime import EncodedPairs, Pair, logits_of

FP32, INT8 = "onnx-fp32", "onnx-int8"
TIMED_PAIRS = 384
ROUNDS = 3
SAMPLED_SHARDS = 4
PARITY_PAIRS = 128
MICRO_BATCH = 16
SPELLING: Spelling = "fused"
"""Not measured: labels that go on later must come from the same bytes."""

LEAST_TAU = 0.95
LARGEST_RMS = 0.1
"""Labels by int8 may stand for those by fp32 if Kendall's tau of the two is no lower, and their RMS difference, in
standard deviations of the labels, no larger."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How close labels are to others: Kendall's tau-a, and the RMS difference in standard deviations of the others."""

    kendall_tau: float
    relative_rms: float

    @classmethod
    def of(cls, labels: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> "Agreement":
        """Compares two arrays of shape (n,), n at least 2."""
        found, expected = (np.asarray(array, np.float64) for array in (labels, others))
        orders = [np.sign(np.subtract.outer(array, array)) for array in (found, expected)]
        tau = float((orders[0] * orders[1]).sum()) / (len(found) * (len(found) - 1))
        deviation = max(float(expected.std()), float(np.finfo(np.float32).tiny))
        return cls(tau, float(np.sqrt(np.mean((found - expected) ** 2))) / deviation)

    @property
    def suffices(self) -> bool:
        """Whether the ones may stand for the others."""
        return self.kendall_tau >= LEAST_TAU and self.relative_rms <= LARGEST_RMS

    def __str__(self) -> str:
        return f"Kendall tau {self.kendall_tau:.4f}, RMS difference {self.relative_rms:.4f} standard deviations"


class OnnxScorer:
    """A cross-encoder in ONNX Runtime: text pairs to logits, shape (n,).

    Length-sorted micro-batches go to one thread per core, all in one session with one intra-op thread.
    """

    def __init__(self, session: ort.InferenceSession, encode: Callable[[Sequence[Pair]], EncodedPairs]) -> None:
        self._run = logits_of(session)
        self._encode = encode
        self._threads = len(os.sched_getaffinity(0))

    def __call__(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """Logits of pairs, in their order."""
        encoded = self._encode(pairs)
        logits = np.full(len(encoded), np.nan, np.float32)

        def score(rows: NDArray[np.int64]) -> None:
            logits[rows] = self._run(encoded.feeds(rows))

        longest_first = encoded.micro_batches(MICRO_BATCH)[::-1]  # so that no thread is left with a long one at the end
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(score, longest_first))
        return logits


@dataclass(frozen=True, slots=True)
class Measured:
    """What the choice between engines rests on: pairs per second of each, and its labels' agreement with fp32."""

    pairs_per_s: dict[str, float]
    agreement: dict[str, Agreement]

    def fastest(self) -> str:
        """The engine with the most pairs per second, int8 only if its labels may stand for those of fp32."""
        allowed = [name for name in self.pairs_per_s if name != INT8 or self.agreement[INT8].suffices]
        return max(allowed, key=lambda name: self.pairs_per_s[name])

    def __str__(self) -> str:
        return "; ".join(
            f"{name} {rate:.0f} pairs/s, {self.agreement[name]}" for name, rate in self.pairs_per_s.items()
        )


def label_run(folder: Path, data: Path, say: Say | None = None) -> None:
    """Labels the shards that the student's stages still need, the teacher's by the engine that is fastest here.

    Args:
        folder: a run with a finished teacher and mining.
        data: folder of the data files that the run was made from.
        say: takes progress lines; standard error by default.

    Raises:
        TrainingError: the run is not that far, a shard is damaged, or another process is at work in it.
        ExportError: labels were begun by an ONNX engine that cannot be made again.
    """
    say = say or Progress()
    run, code = read_run(folder, data), commit()
    with run.locked():
        start, worked = time.monotonic(), True
        try:
            worked = label(run, lambda run, labeller: choose_engine(run, labeller, say))
        finally:
            if worked:
                run.note("label", time.monotonic() - start, code)
    say(f"label: done, in {run.folder}" if worked else f"label: nothing to do in {run.folder}")


def choose_engine(run: Run, labeller: TeacherLabeller, say: Say) -> tuple[Scorer, dict[str, Any]]:
    """The labeller with its cross-encoder in the fastest engine, and the record of that; as `training.label` asks.

    Torch stays where the cross-encoder cannot be exported. Labels that were begun go on with the engine that began.

    Raises:
        ExportError: that engine cannot be made again, or differs.
    """
    begun = teacher_engine(run)
    if begun is not None and begun["engine"] == TORCH:
        say("the teacher's labels were begun by torch, and go on so")
        return labeller, begun
    pairs = _sample(run, 2 * RANGE_PAIRS + TIMED_PAIRS)
    try:
        variants = _build(run, labeller, pairs, say)
    except ExportError as error:
        if begun is not None:
            raise _begun_by_another(run, begun, str(error)) from error
        say(f"labelling by torch, for the teacher cannot be exported: {error}")
        return labeller, {"engine": TORCH, "reason": str(error)}
    engines = {TORCH: labeller.cross}
    for name, variant in variants.items():
        engines[name] = OnnxScorer(variant.session, partial(_encoded, labeller))
    if begun is None:
        measured = measure(engines, labeller, pairs[2 * _range_pairs(pairs) :])  # none that int8 was fitted to
        record = _record(measured, variants)
        say(f"{measured}: labelling by {record['engine']}")
        if not measured.agreement[INT8].suffices:
            say(
                f"int8 was passed over: labels need a tau of {LEAST_TAU} and an RMS difference of {LARGEST_RMS} at most"
            )
    else:
        record = begun
        if _digest(variants[record["engine"]]) != record["sha256"]:
            raise _begun_by_another(run, begun, "the teacher or the calibration pairs changed")
        say(f"labels were begun by {record['engine']}, and go on so")
    labeller.cross = engines[record["engine"]]
    return labeller, record


def measure(engines: dict[str, Scorer], labeller: TeacherLabeller, pairs: Sequence[Pair]) -> Measured:
    """Times engines in turn over parts of the pairs, and compares the labels that come of them.

    Args:
        engines: how each scores the cross-encoder's part; `onnx-fp32` is the one to agree with.
        labeller: adds what the teacher adds to that; its own engine is as before at the end.
        pairs: at least three.
    """
    rates: dict[str, list[float]] = {name: [] for name in engines}
    logits: dict[str, list[NDArray[np.float32]]] = {name: [] for name in engines}
    for score in engines.values():  # first calls allocate
        score(pairs[:MICRO_BATCH])
    for part in range(ROUNDS):
        here = pairs[part::ROUNDS]
        for name, score in engines.items():
            start = time.perf_counter()
            logits[name].append(score(here))
            rates[name].append(len(here) / (time.perf_counter() - start))
    ordered = [pair for part in range(ROUNDS) for pair in pairs[part::ROUNDS]]
    own, labels = labeller.cross, {}
    for name, parts in logits.items():
        cross = np.concatenate(parts)
        labeller.cross = lambda _, cross=cross: cross  # type: ignore[misc]
        labels[name] = labeller(ordered)
    labeller.cross = own
    return Measured(
        {name: float(np.median(found)) for name, found in rates.items()},
        {name: Agreement.of(found, labels[FP32]) for name, found in labels.items()},
    )


def _sample(run: Run, size: int) -> list[Pair]:
    """At most `size` of the mined pairs, in random order, the same however many are labelled or are to be."""
    paths = mined_shards(run)
    spread = np.unique(np.linspace(0, len(paths) - 1, min(SAMPLED_SHARDS, len(paths))).astype(int))
    pairs: list[Pair] = [
        (entry.query, candidate.product)
        for path in spread
        for entry in read_shard(paths[path])
        for candidate in entry.candidates
    ]
    return [pairs[i] for i in np.random.default_rng(run.config.seed).permutation(len(pairs))[:size]]


def _encoded(labeller: TeacherLabeller, pairs: Sequence[Pair]) -> EncodedPairs:
    model = labeller.teacher.cross_encoder
    if not isinstance(model, CrossEncoder):
        raise ExportError("it is no BERT encoder with one output that is trained whole")
    return EncodedPairs(model.tokenizer, pairs)


def _range_pairs(pairs: Sequence[Pair]) -> int:
    """How many, from the first on, ranges are measured on; as many after them choose between ways to set ranges."""
    return min(RANGE_PAIRS, len(pairs) // 3)


def _build(run: Run, labeller: TeacherLabeller, pairs: Sequence[Pair], say: Say) -> dict[str, Compiled]:
    check_pairs_suffice(len(pairs))
    parity_pairs = _encoded(labeller, pairs[:PARITY_PAIRS])
    checkpoint = load_checkpoint(run.teacher, say)
    fp32, _ = compile_fp32(checkpoint, parity_pairs, say, SPELLING)
    ranged = _range_pairs(pairs)
    ranges, choice = (_encoded(labeller, part) for part in (pairs[:ranged], pairs[ranged : 2 * ranged]))
    int8, _ = compile_int8(checkpoint, fp32, ranges, choice, say, SPELLING)
    return {FP32: fp32, INT8: int8}


def _record(measured: Measured, variants: dict[str, Compiled]) -> dict[str, Any]:
    engine = measured.fastest()
    return {
        "engine": engine,
        "sha256": _digest(variants[engine]) if engine in variants else None,
        "pairs_per_s": {name: round(rate, 1) for name, rate in measured.pairs_per_s.items()},
        "agreement_with_fp32": {name: asdict(found) for name, found in measured.agreement.items()},
        "threads": len(os.sched_getaffinity(0)),
        "onnxruntime": ort.__version__,
    }


def _digest(variant: Compiled) -> str:
    return hashlib.sha256(variant.model).hexdigest()


def _begun_by_another(run: Run, begun: dict[str, Any], why: str) -> ExportError:
    folder = run.labelled("teacher")
    return ExportError(
        f"{folder}: labels were begun by {begun['engine']}, which cannot go on: {why}; delete that folder to label anew"
    )

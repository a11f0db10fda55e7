"""The whole export: checkpoint -> checked variants -> calibration -> evaluation -> artifact folder, or a refusal."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifact import (
    ArtifactError,
    Calibration,
    InputTemplate,
    LatencyPoint,
    Lineage,
    Manifest,
    Metric,
    PairTokenizer,
    Product,
    write_artifact,
)
from artifact.loading import sha256_of

from .attention import Spelling
from .calibrate import fit_platt, score_histogram
from .card import model_card
from .checkpoint import TOKENIZER_FILE, Checkpoint, load_checkpoint
from .compile import RANGE_PAIRS, Compiled, Say, check_pairs_suffice, compile_fp32, compile_int8
from .cuda_variant import CUDA_TOLERANCE, CudaVariant, check_family, compile_cuda
from .cuda_variant import NAME as CUDA_FP16
from .errors import ExportError
from .evaluation import Evaluate, ScoringFunction, evaluate_variants
from .faithful import MAX_NDCG_LOSS, encoded_lists
from .golden import GOLDEN_PAIRS, with_logits
from .latency import describe, measure_latency
from .parity import BATCH, TOLERANCE, Independence, check_independence
from .progress import Progress
from .runtime import EncodedPairs, Pair, scorer
from .schemes import Choice

INT8 = "cpu-int8"
VARIANTS = ("cpu-fp32", "cpu-int8")
ALL_VARIANTS = (*VARIANTS, CUDA_FP16)
SMALLEST_INT8_TOLERANCE = 0.02
TORCH_PAIRS = 256
"""Calibration pairs that torch scores beside the golden ones."""


@dataclass(frozen=True)
class StudentExport:
    """What is exported, and what it is checked against.

    | field | use |
    |---|---|
    | `checkpoint` | Hugging Face folder: config.json, model.safetensors, tokenizer.json; or one that is loaded |
    | `calibration_pairs` | unlabelled training pairs, at least 64: ranges, parity, independence, reference scores |
    | `dev_pairs` | (query, product, human soft target in 0 to 1): Platt calibration. Empty: the identity |
    | `lists` | labelled candidate lists: int8 must rank them as fp32 does. Empty: that is not asked |
    | `evaluate` | metrics of a scoring function, called once for each variant. None: no evaluation and no gate |
    | `variants` | which variants' files go into the folder; cpu-fp32 is always built and checked |
    | `attention` | its spelling. None: the faster one here |
    | `max_ndcg_loss` | the export is refused if int8 loses more in any metric whose name begins with nDCG |
    """

    checkpoint: Path | Checkpoint
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


def export_student(plan: StudentExport, out: Path, say: Say | None = None) -> Manifest:
    """Exports a student and returns the manifest of the artifact that stands at `out` afterwards.

    Args:
        say: takes progress lines; standard error by default.

    Raises:
        ExportError: anything is not as it must be. `out` is as it was.
    """
    say = say or Progress()
    _check_plan(plan)
    checkpoint = load_checkpoint(plan.checkpoint, say) if isinstance(plan.checkpoint, Path) else plan.checkpoint
    if CUDA_FP16 in plan.variants:
        check_family(checkpoint)
    say(f"loaded {checkpoint.shape.layers} layers, {checkpoint.shape.hidden_size} wide, from {checkpoint.folder}")
    tokenizer = _tokenizer(checkpoint, plan.template)
    golden = EncodedPairs(tokenizer, GOLDEN_PAIRS)
    checked = EncodedPairs(tokenizer, [*GOLDEN_PAIRS, *plan.calibration_pairs[:BATCH]])
    ranged, chosen = _range_pairs(plan.calibration_pairs)

    torch_pairs = EncodedPairs(tokenizer, [*GOLDEN_PAIRS, *plan.calibration_pairs[:TORCH_PAIRS]])
    fp32, torch_difference = compile_fp32(checkpoint, torch_pairs, say, plan.attention)
    lists = encoded_lists(tokenizer, plan.lists) if plan.lists else None
    range_pairs, choice_pairs = (EncodedPairs(tokenizer, pairs) for pairs in (ranged, chosen))
    built, choice = [fp32], None
    if INT8 in plan.variants:
        int8, choice = compile_int8(checkpoint, fp32, range_pairs, choice_pairs, say, plan.attention, lists)
        built.append(int8)
    independence = {}
    for variant in built:
        independence[variant.name] = check_independence(variant.run, checked, variant.name)
        say(f"{variant.name}: logits move by at most {independence[variant.name].worst:.1g} with batch mates")

    cuda = [compile_cuda(checkpoint, fp32.run, golden, checked, say)] if CUDA_FP16 in plan.variants else []

    metrics: tuple[Metric, ...] = ()
    if plan.evaluate is not None:
        scorers = {variant.name: scorer(variant.run, tokenizer) for variant in built}
        metrics = evaluate_variants(plan.evaluate, scorers, plan.max_ndcg_loss, say)
    written = [variant for variant in built if variant.name in plan.variants]
    last = written[-1] if written else fp32
    served = scorer(last.run, tokenizer)
    calibration = _calibrate(plan, served)
    say(f"calibrated: slope {calibration.slope:.3g}, intercept {calibration.intercept:.3g}")
    logits = {v.name: checked.logits(v.run) for v in built}
    int8_errors = np.abs(logits[built[-1].name] - logits[fp32.name])
    reference = calibration.scores(logits[last.name][len(golden) :])
    contents: dict[str, Any] = {
        "name": plan.name,
        "architecture": "cross-encoder",
        "layers": checkpoint.shape.layers,
        "hidden_size": checkpoint.shape.hidden_size,
        "template": plan.template,
        "calibration": calibration,
        "lineage": plan.lineage,
        "evaluation": metrics,
        "golden_pairs": with_logits(
            GOLDEN_PAIRS,
            {v.name: logits[v.name][: len(golden)].tolist() for v in written} | {v.name: v.golden for v in cuda},
        ),
        "score_histogram": score_histogram(reference, plan.calibration_data),
    }
    notes = [f"Several outputs made one logit by their gains: {checkpoint.outputs}."] if checkpoint.outputs else []
    notes += _notes(torch_difference, len(torch_pairs), len(checked), choice, independence, int8_errors)
    notes += [variant.note for variant in cuda]
    latency = {}
    for variant in written:
        latency[variant.name] = measure_latency(variant.model, plan.template.max_tokens, checkpoint.vocab_size)
        say(f"{variant.name}, one thread: {describe(latency[variant.name])}")
    manifest = _write(out, contents, checkpoint, [*written, *cuda], _int8_tolerance(int8_errors), latency, notes)
    say(f"wrote {out}: {manifest.name} {manifest.version}, {', '.join(v.name for v in manifest.variants)}")
    return manifest


def _check_plan(plan: StudentExport) -> None:
    unknown = [name for name in plan.variants if name not in ALL_VARIANTS]
    if unknown or not plan.variants:
        raise ExportError(f"expected variants out of {', '.join(ALL_VARIANTS)}; got {', '.join(unknown) or 'none'}")
    if not plan.name:
        raise ExportError("expected a name for the model, got an empty one")
    check_pairs_suffice(len(plan.calibration_pairs))


def _tokenizer(checkpoint: Checkpoint, template: InputTemplate) -> PairTokenizer:
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


def _range_pairs(pairs: Sequence[Pair]) -> tuple[Sequence[Pair], Sequence[Pair]]:
    """Two disjoint, evenly spread samples: one to measure ranges on, one to choose the method on."""
    count = min(RANGE_PAIRS, len(pairs) // 2)
    picked = np.linspace(0, len(pairs) - 1, 2 * count).astype(int)
    return [pairs[i] for i in picked[::2]], [pairs[i] for i in picked[1::2]]


def _calibrate(plan: StudentExport, score: ScoringFunction) -> Calibration:
    if not plan.dev_pairs:
        return Calibration()
    logits = score([(query, product) for query, product, _ in plan.dev_pairs])
    return fit_platt(logits, [target for _, _, target in plan.dev_pairs], plan.dev_data)


def _notes(
    torch_difference: float,
    torch_pairs: int,
    pairs: int,
    choice: Choice | None,
    independence: dict[str, Independence],
    int8_errors: NDArray[np.float64],
) -> list[str]:
    return [
        f"fp32 against torch: at most {torch_difference:.1g} apart on {torch_pairs} pairs (limit {TOLERANCE:g}).",
        *([] if choice is None else _int8_notes(choice, pairs, int8_errors)),
        *(
            f"{name}: the same pair alone, in micro-batches, in one batch of {found.pairs}, beside the longest and "
            f"beside others: logits differ by at most {found.worst:.1g} (limit {TOLERANCE:g})."
            for name, found in independence.items()
        ),
    ]


def _int8_notes(choice: Choice, pairs: int, errors: NDArray[np.float64]) -> list[str]:
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


def _int8_tolerance(errors: NDArray[np.float64]) -> float:
    """Room for a processor that rounds some activations the other way; wrong 8-bit products are far outside it."""
    return max(SMALLEST_INT8_TOLERANCE, 3 * _rms(errors))


def _rms(errors: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _write(
    out: Path,
    contents: dict[str, Any],
    checkpoint: Checkpoint,
    written: Sequence[Compiled | CudaVariant],
    int8_tolerance: float,
    latency: Mapping[str, Sequence[LatencyPoint]],
    notes: Sequence[str],
) -> Manifest:
    with tempfile.TemporaryDirectory() as temporary:
        files = {TOKENIZER_FILE: checkpoint.tokenizer_path}
        variants = []
        tolerances = {"fp32": TOLERANCE, "int8": int8_tolerance, "fp16": CUDA_TOLERANCE}
        for variant in written:
            file = f"{variant.name}.onnx"
            files[file] = Path(temporary) / file
            files[file].write_bytes(variant.model)
            variants.append(
                {
                    "name": variant.name,
                    "file": file,
                    "device": "cuda" if variant.precision == "fp16" else "cpu",
                    "precision": variant.precision,
                    "size_bytes": len(variant.model),
                    "sha256": sha256_of(files[file]),
                    "choices": dict(variant.choices),
                    "golden_tolerance": tolerances[variant.precision],
                    "latency": latency.get(variant.name, ()),
                }
            )
        tokenizer_file = {"sha256": sha256_of(checkpoint.tokenizer_path), "vocab_size": checkpoint.vocab_size}
        contents = {**contents, "variants": variants, "tokenizer": tokenizer_file}
        draft = Manifest.model_validate({**contents, "version": "0" * 16})
        try:
            return write_artifact(out, contents, files, model_card(draft, notes))
        except (ArtifactError, OSError) as error:
            raise ExportError(f"cannot write the artifact: {error}") from error

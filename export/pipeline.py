"""The whole export: checkpoint -> checked variants -> calibration -> evaluation -> artifact folder, or a refusal."""

from pathlib import Path
from typing import Any

import numpy as np

from artifact import Manifest, Metric

from .calibrate import score_histogram
from .checkpoint import Checkpoint, load_checkpoint
from .compile import Say, compile_fp32, compile_int8
from .cuda_variant import CUDA_TOLERANCE, check_family, compile_cuda
from .cuda_variant import NAME as CUDA_FP16
from .evaluation import evaluate_variants
from .faithful import encoded_lists
from .golden import GOLDEN_PAIRS, with_logits
from .input_reference import input_reference
from .latency import describe, measure_latency
from .outcome import Outcome, int8_notes, int8_tolerance, torch_note, write_outcome
from .parity import BATCH, TOLERANCE, check_independence
from .plan import INT8, TORCH_PAIRS, StudentExport, calibrate, check_plan, open_tokenizer, range_pairs
from .progress import Progress
from .runtime import EncodedPairs, scorer
from .split.checkpoint import SplitCheckpoint, is_split, read_split
from .split.pipeline import export_split


def export_student(plan: StudentExport, out: Path, say: Say | None = None) -> Manifest:
    """Exports a student and returns the manifest of the artifact that stands at `out` afterwards.

    Args:
        say: takes progress lines; standard error by default.

    Raises:
        ExportError: anything is not as it must be. `out` is as it was.
    """
    say = say or Progress()
    check_plan(plan)
    checkpoint = plan.checkpoint
    if isinstance(checkpoint, Path) and is_split(checkpoint):
        checkpoint = read_split(checkpoint, plan.template)
    if isinstance(checkpoint, SplitCheckpoint):
        return export_split(plan, checkpoint, out, say)
    return _export(plan, load_checkpoint(checkpoint, say) if isinstance(checkpoint, Path) else checkpoint, out, say)


def _export(plan: StudentExport, checkpoint: Checkpoint, out: Path, say: Say) -> Manifest:
    """The same of a cross-encoder."""
    if CUDA_FP16 in plan.variants:
        check_family(checkpoint)
    say(f"loaded {checkpoint.shape.layers} layers, {checkpoint.shape.hidden_size} wide, from {checkpoint.folder}")
    tokenizer = open_tokenizer(checkpoint, plan.template)
    golden = EncodedPairs(tokenizer, GOLDEN_PAIRS)
    checked = EncodedPairs(tokenizer, [*GOLDEN_PAIRS, *plan.calibration_pairs[:BATCH]])
    ranged, chosen = range_pairs(plan.calibration_pairs)

    torch_pairs = EncodedPairs(tokenizer, [*GOLDEN_PAIRS, *plan.calibration_pairs[:TORCH_PAIRS]])
    fp32, torch_difference = compile_fp32(checkpoint, torch_pairs, say, plan.attention)
    lists = encoded_lists(tokenizer, plan.lists) if plan.lists else None
    measured_on, chosen_on = (EncodedPairs(tokenizer, pairs) for pairs in (ranged, chosen))
    built, choice = [fp32], None
    if INT8 in plan.variants:
        int8, choice = compile_int8(checkpoint, fp32, measured_on, chosen_on, say, plan.attention, lists)
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
    calibration = calibrate(plan, served)
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
        "input_reference": input_reference(tokenizer, "cross-encoder", plan.calibration_pairs, plan.calibration_data),
    }
    notes = [f"Several outputs made one logit by their gains: {checkpoint.outputs}."] if checkpoint.outputs else []
    notes.append(torch_note(torch_difference, len(torch_pairs)))
    notes += [] if choice is None else int8_notes(choice, len(checked), int8_errors)
    notes += [
        f"{name}: the same pair alone, in micro-batches, in one batch of {found.pairs}, beside the longest and "
        f"beside others: logits differ by at most {found.worst:.1g} (limit {TOLERANCE:g})."
        for name, found in independence.items()
    ]
    notes += [variant.note for variant in cuda]
    tolerances = {"fp32": TOLERANCE, "int8": int8_tolerance(int8_errors)}
    outcomes = []
    for variant in written:
        latency = measure_latency(variant.model, plan.template.max_tokens, checkpoint.vocab_size)
        say(f"{variant.name}, one thread: {describe(latency)}")
        tolerance, graphs = tolerances[variant.precision], {"": variant.model}
        outcomes.append(Outcome(variant.name, "cpu", variant.precision, graphs, variant.choices, tolerance, latency))
    outcomes += [Outcome(v.name, "cuda", v.precision, {"": v.model}, v.choices, CUDA_TOLERANCE) for v in cuda]
    manifest = write_outcome(out, contents, checkpoint.tokenizer_path, checkpoint.vocab_size, outcomes, notes)
    say(f"wrote {out}: {manifest.name} {manifest.version}, {', '.join(v.name for v in manifest.variants)}")
    return manifest

"""The whole export of a split student: checked variants, calibration, evaluation, artifact folder, or a refusal."""

from pathlib import Path
from typing import Any

import numpy as np

from artifact import Manifest, Metric

from ..calibrate import score_histogram
from ..compile import Say
from ..cuda_variant import NAME as CUDA_FP16
from ..errors import ExportError
from ..evaluation import evaluate_variants
from ..faithful import Lists, pairs_of
from ..golden import GOLDEN_PAIRS, with_logits
from ..input_reference import input_reference
from ..outcome import Outcome, int8_notes, int8_tolerance, torch_note, write_outcome
from ..parity import BATCH, TOLERANCE
from ..plan import INT8, TORCH_PAIRS, StudentExport, calibrate, open_tokenizer, range_pairs
from .checkpoint import SplitCheckpoint
from .compile import CompiledSplit, check_states, compile_split_fp32, compile_split_int8
from .latency import measure_interaction, measure_product_encoder
from .parity import check_split_independence
from .runtime import SplitModel, SplitPairs, split_scorer


def export_split(plan: StudentExport, checkpoint: SplitCheckpoint, out: Path, say: Say) -> Manifest:
    """Exports a split student; `plan.checkpoint` is not looked at.

    Raises:
        ExportError: anything is not as it must be. `out` is as it was.
    """
    if CUDA_FP16 in plan.variants:
        raise ExportError(f"{checkpoint.folder}: a split student has no variant {CUDA_FP16}: leave it out")
    tokenizer, shape = open_tokenizer(checkpoint, plan.template), checkpoint.shape
    encoder_layers = checkpoint.encoder_shapes["product"].layers
    say(
        f"loaded encoders of {encoder_layers} layers, {shape.width} wide, states {shape.state_width} wide, "
        f"{shape.layers} interaction layers, from {checkpoint.folder}"
    )
    checked = [*GOLDEN_PAIRS, *plan.calibration_pairs[:BATCH]]
    torch_pairs = [*GOLDEN_PAIRS, *plan.calibration_pairs[:TORCH_PAIRS]]
    fp32, torch_difference = compile_split_fp32(checkpoint, torch_pairs, say, plan.attention)
    lists: Lists[SplitModel] | None = None
    if plan.lists:
        lists = Lists(SplitPairs(tokenizer, pairs_of(plan.lists)), plan.lists)
    built, choice, notes = [fp32], None, [torch_note(torch_difference, len(torch_pairs))]
    if INT8 in plan.variants:
        if lists is not None:
            notes.append(f"int8 states alone against fp32 states: {check_states(checkpoint, fp32, lists, say)}.")
        pairs = range_pairs(plan.calibration_pairs)
        int8, choice = compile_split_int8(checkpoint, fp32, *pairs, say, plan.attention, lists)
        built.append(int8)
    independence = []
    for variant in built:
        found = check_split_independence(variant.model, tokenizer, checked, variant.name)
        say(f"{variant.name}: logits move by at most {found.worst:.1g} with what stands beside them")
        independence.append(f"{variant.name}: a pair's logit differs by at most: {found} (limit {TOLERANCE:g}).")

    metrics: tuple[Metric, ...] = ()
    if plan.evaluate is not None:
        scorers = {variant.name: split_scorer(variant.model, tokenizer) for variant in built}
        metrics = evaluate_variants(plan.evaluate, scorers, plan.max_ndcg_loss, say)
    written = [variant for variant in built if variant.name in plan.variants]
    calibration = calibrate(plan, split_scorer(written[-1].model, tokenizer))
    say(f"calibrated: slope {calibration.slope:.3g}, intercept {calibration.intercept:.3g}")
    encoded, golden = SplitPairs(tokenizer, checked), len(GOLDEN_PAIRS)
    logits = {variant.name: encoded.logits(variant.model) for variant in built}
    int8_errors = np.abs(logits[built[-1].name] - logits[fp32.name])
    reference = calibration.scores(logits[written[-1].name][golden:])
    contents: dict[str, Any] = {
        "name": plan.name,
        "architecture": "split",
        "layers": encoder_layers,
        "hidden_size": shape.width,
        "template": plan.template,
        "calibration": calibration,
        "lineage": plan.lineage,
        "evaluation": metrics,
        "golden_pairs": with_logits(GOLDEN_PAIRS, {v.name: logits[v.name][:golden].tolist() for v in written}),
        "score_histogram": score_histogram(reference, plan.calibration_data),
        "input_reference": input_reference(tokenizer, "split", plan.calibration_pairs, plan.calibration_data),
    }
    notes += [] if choice is None else int8_notes(choice, len(checked), int8_errors)
    outcomes = [
        _outcome(v, tokenizer.template.max_tokens, checkpoint.vocab_size, int8_tolerance(int8_errors), say)
        for v in written
    ]
    notes += independence
    manifest = write_outcome(out, contents, checkpoint.tokenizer_path, checkpoint.vocab_size, outcomes, notes)
    say(f"wrote {out}: {manifest.name} {manifest.version}, {', '.join(v.name for v in manifest.variants)}")
    return manifest


def _outcome(variant: CompiledSplit, max_tokens: int, vocab_size: int, tolerance: float, say: Say) -> Outcome:
    """The variant with its latency tables."""
    interaction, product = (
        measure(variant.model, max_tokens, vocab_size) for measure in (measure_interaction, measure_product_encoder)
    )
    for what, table in (("interaction", interaction), ("product encoder", product)):
        most = table[-1]
        say(
            f"{variant.name}, {what} on one thread: {most.pairs} x {most.tokens} product tokens "
            f"{most.seconds * 1e3:.2f} ms"
        )
    return Outcome(
        variant.name,
        "cpu",
        variant.precision,
        {
            "": variant.graphs["interaction"],
            "product_encoder": variant.graphs["product"],
            "query_encoder": variant.graphs["query"],
        },
        variant.choices,
        tolerance if variant.precision == "int8" else TOLERANCE,
        interaction,
        variant.states,
        product,
    )

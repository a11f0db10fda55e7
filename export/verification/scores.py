"""What an artifact's scores must be: as promised, as the other variants', a pair's own, and calibrated."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from artifact import Calibration, GoldenPair, ScoreHistogram, Variant
from training.evaluation.calibration import expected_calibration_error

from ..checkpoint import Checkpoint
from ..errors import ExportError
from ..label import Agreement
from ..parity import TOLERANCE, check_against_torch, check_independence
from ..runtime import EncodedPairs, Run
from .checks import Finding

Logits = NDArray[np.float64]

REACH = 30.0
"""Logits from -REACH to REACH must give monotone scores; a trained cross-encoder's stay within 15."""


def check_golden(found: Logits, golden: Sequence[GoldenPair], variant: Variant) -> Finding:
    """Compares the golden pairs' logits, (2, n): each alone and all in one batch, with those of the manifest.

    Raises:
        ExportError: one is further away than the variant tolerates, or the manifest has none for it.
    """
    without = sum(variant.name not in each.logits for each in golden)
    if without:
        raise ExportError(
            f"expected a golden logit of every pair, found none for {without} of {len(golden)}: export it again"
        )
    expected = np.array([each.logits[variant.name] for each in golden])
    differences = np.abs(found - expected).max(axis=0)
    worst, limit = float(differences.max()), variant.golden_tolerance
    if not worst <= limit:
        row = int(np.argmax(np.where(np.isnan(differences), np.inf, differences)))
        wrong = int((~(differences <= limit)).sum())
        raise ExportError(
            f"{wrong} of {len(golden)} pairs miss their logit, most of all query {golden[row].query[:40]!r}: expected "
            f"{expected[row]:.6g} within {limit:.3g}, found {found[0, row]:.6g} alone and {found[1, row]:.6g} in one "
            "batch: this processor computes otherwise, or the manifest belongs to another file; export it here again"
        )
    sentence = f"{len(golden)} pairs, largest difference {worst:.2g} (limit {limit:.2g})"
    return Finding(sentence, {"pairs": len(golden), "largest_difference": worst, "limit": limit})


def check_torch(checkpoint: Checkpoint, run: Run, pairs: EncodedPairs) -> Finding:
    """Compares an fp32 variant with the checkpoint that it was exported from.

    Raises:
        ExportError: a logit differs by more than 1e-4.
    """
    worst = check_against_torch(checkpoint, run, pairs)
    facts = {"against": "torch", "pairs": len(pairs), "largest_difference": worst, "limit": TOLERANCE}
    return Finding(f"against torch: {len(pairs)} pairs, largest difference {worst:.2g} (limit {TOLERANCE:g})", facts)


def check_precision(
    found: Logits, reference: Logits, lists: Sequence[Sequence[int]], limit: float, against: str
) -> Finding:
    """Compares a rounded variant's logits with full precision: root mean square, largest, and order within queries.

    Raises:
        ExportError: the root mean square difference is over `limit`.
    """
    errors = np.abs(found - reference)
    rms, largest = float(np.sqrt(np.mean(errors**2))), float(errors.max())
    tau = mean_tau(found, reference, lists)
    told = "" if tau is None else f", Kendall tau {tau:.3f} in {len(lists)} queries"
    sentence = f"against {against}: {len(found)} pairs, RMS difference {rms:.2g} (limit {limit:.2g}), largest "
    sentence += f"{largest:.2g}{told}"
    if not rms <= limit:
        raise ExportError(
            f"{sentence}: rounding moves logits further than the variant's golden tolerance; export it again with "
            "calibration pairs like those that are scored"
        )
    facts = {
        "against": against,
        "pairs": len(found),
        "rms_difference": rms,
        "limit": limit,
        "largest_difference": largest,
        "kendall_tau": tau,
        "queries": len(lists),
    }
    return Finding(sentence, facts)


def check_neighbours(run: Run, pairs: EncodedPairs, variant: str, seed: int) -> Finding:
    """Compares each pair's logit alone with that beside others.

    Raises:
        ExportError: it moves by more than 1e-4.
    """
    found = check_independence(run, pairs, variant, seed)
    facts = {"pairs": found.pairs, "largest_difference": found.worst, "limit": TOLERANCE}
    sentence = f"{found.pairs} pairs, logits move by at most {found.worst:.2g} with neighbours (limit {TOLERANCE:g})"
    return Finding(sentence, {**facts, "random_neighbours": found.random_neighbours})


def check_calibration(calibration: Calibration, histogram: ScoreHistogram | None, logits: Logits) -> Finding:
    """Refuses constants that do not turn logits into probabilities of the same order, and an empty histogram.

    Raises:
        ExportError: saying which.
    """
    slope, intercept = calibration.slope, calibration.intercept
    if not (slope > 0 and np.isfinite(slope) and np.isfinite(intercept)):
        raise ExportError(
            f"expected a positive slope and finite constants, found slope {slope:.4g}, intercept {intercept:.4g}: "
            "higher logits would not mean more relevant; calibrate again"
        )
    ladder = np.sort(np.concatenate((logits, np.linspace(-REACH, REACH, 241))))
    with np.errstate(over="ignore"):
        scores = calibration.scores(ladder)
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1 and (np.diff(scores) >= 0).all()):
        raise ExportError(
            f"expected scores in 0 to 1 that rise with the logit, found {scores.min():.3g} to {scores.max():.3g} for "
            f"logits of {ladder[0]:.3g} to {ladder[-1]:.3g}, not in order or not finite: calibrate again"
        )
    if histogram is None or sum(histogram.counts) <= 0 or min(histogram.counts) < 0:
        raise ExportError("expected a reference histogram with scores in it, found none: drift would not be seen")
    own = calibration.scores(logits)
    sentence = (
        f"slope {slope:.3g}, intercept {intercept:.3g}; scores {own.min():.3f} to {own.max():.3f}, rising with the "
        f"logit; histogram of {sum(histogram.counts)} scores"
    )
    facts = {
        "slope": slope,
        "intercept": intercept,
        "lowest_score": float(own.min()),
        "highest_score": float(own.max()),
    }
    return Finding(sentence, {**facts, "histogram_scores": sum(histogram.counts)})


def calibration_error(calibration: Calibration, logits: Logits, targets: Sequence[float]) -> Finding:
    """The expected calibration error on judged pairs, for the reader to judge.

    Raises:
        ExportError: it is not finite.
    """
    error = expected_calibration_error(calibration.scores(logits), np.array(targets))
    if not np.isfinite(error):
        raise ExportError("expected finite scores of the judged pairs, found others")
    return Finding(f"ECE {error:.3f} on {len(targets)} judged pairs", {"ece": error, "pairs": len(targets)})


def mean_tau(found: Logits, reference: Logits, lists: Sequence[Sequence[int]]) -> float | None:
    """Mean over queries of Kendall's tau-a between two scorings of the query's products; None without queries."""
    taus = [Agreement.of(found[list(rows)], reference[list(rows)]).kendall_tau for rows in lists]
    return float(np.mean(taus)) if taus else None


def expected_size(tables: Mapping[str, set[int]], vocab_size: int) -> None:
    """Refuses graphs whose embedding tables have another number of rows than the manifest says.

    Raises:
        ExportError: naming the variants.
    """
    wrong = {name: rows for name, rows in tables.items() if rows - {vocab_size}}
    if wrong:
        told = ", ".join(f"{min(rows - {vocab_size})} in {name}" for name, rows in wrong.items())
        raise ExportError(f"expected embedding tables of {vocab_size} rows, found {told}: export it again")

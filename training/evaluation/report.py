"""One HTML page that says how models rank, how sure that is, and where they differ. It opens without a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..config import Data
from ..config.evaluation import Evaluation
from ..data import JudgedPair
from ..errors import TrainingError
from ..runs import replacing
from .calibration import brier, reliability
from .compare import Difference, compare
from .metrics import Estimate, ModelScores, measure
from .pictures import curve, reliability_diagram, score_histogram
from .segments import SegmentFigure, by_segment
from .sources import JudgedSource, gain_mapping, sources_of
from .wins import Example, wins_and_losses


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Quality after training on so much data: `label` names the line, `size` is in training pairs."""

    label: str
    size: int
    estimate: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class ReportInput:
    """What a report is made from.

    Attributes:
        title: heading of the page.
        models: name -> scores of `pairs`, in order of appearance; the last one is examined closely.
        pairs: judged pairs of one split.
        data: the sources that the pairs are from: gains and AUC pairs.
        split: the split's name.
        baseline: the model that the others are compared with.
        settings: of metrics and intervals.
        curves: points of quality against data size; one picture for each figure and source.
        ceilings: raters against raters.
        notes: paragraphs of plain text, shown first.
    """

    title: str
    models: Mapping[str, ModelScores]
    pairs: Sequence[JudgedPair]
    data: Data
    split: str
    baseline: str
    settings: Evaluation = field(default_factory=Evaluation)
    curves: Sequence[CurvePoint] = ()
    ceilings: Sequence[Estimate] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _ModelPart:
    """A model on one source."""

    name: str
    estimates: Mapping[str, Estimate]
    differences: Mapping[str, Difference]
    brier: float | None
    reliability: str | None
    histogram: str
    segments: Mapping[tuple[str, str], SegmentFigure]


@dataclass(frozen=True, slots=True)
class _SourcePart:
    """A source's share of the page."""

    name: str
    pairs: int
    queries: int
    gains: str | None
    figures: Sequence[str]
    models: Sequence[_ModelPart]
    wins: Sequence[Example]
    losses: Sequence[Example]


def write_report(path: Path, report: ReportInput) -> None:
    """Writes the page, whole or not at all.

    Raises:
        TrainingError: there is no model or pair, the baseline is no model, or a model has not one finite score a pair.
    """
    _check(path, report)
    last = list(report.models)[-1]
    page = _environment().get_template("report.html.j2")
    lines: dict[tuple[str, str, str], list[CurvePoint]] = {}
    for point in report.curves:
        lines.setdefault((point.estimate.data, point.estimate.split, point.estimate.name), []).append(point)
    text = page.render(
        report=report,
        last=last,
        sources=[_source(source, report, last) for source in sources_of(report.pairs, report.data, report.split)],
        curves=[
            (f"{data}: {name} ({split})", curve([(p.label, p.size, p.estimate) for p in points]), points)
            for (data, split, name), points in lines.items()
        ],
    )
    with replacing(path) as new:
        new.write_text(text, "utf-8")


def _check(path: Path, report: ReportInput) -> None:
    if not report.models or not report.pairs:
        raise TrainingError(f"{path}: a report needs a model and a judged pair, got none")
    if report.baseline not in report.models:
        raise TrainingError(f"{path}: the baseline {report.baseline!r} is none of the models {list(report.models)}")
    for name, scores in report.models.items():
        if scores.logits.shape != (len(report.pairs),) or not np.isfinite(scores.logits).all():
            raise TrainingError(f"{path}: {name}: expected a finite score for each of {len(report.pairs)} pairs")
    if any(point.size < 1 for point in report.curves):
        raise TrainingError(f"{path}: a curve's sizes are numbers of training pairs, 1 or more")


def _source(source: JudgedSource, report: ReportInput, last: str) -> _SourcePart:
    models = [_model(name, source, report) for name in report.models]
    figures = list(dict.fromkeys(name for model in models for name in model.estimates))
    gains = source.settings.ndcg_gains
    a, b = report.models[last].of(source), report.models[report.baseline].of(source)
    wins, losses = wins_and_losses(source, report.pairs, a.logits, b.logits, report.settings)
    return _SourcePart(
        source.name,
        len(source.rows),
        len(source.queries),
        None if gains is None else gain_mapping(gains),
        figures,
        models,
        wins,
        losses,
    )


def _model(name: str, source: JudgedSource, report: ReportInput) -> _ModelPart:
    scores = report.models[name].of(source)
    baseline = report.models[report.baseline].of(source)
    differences = [] if name == report.baseline else compare(source, scores, baseline, report.settings)
    probabilities = scores.probabilities()
    grades = {grade: source.grades == grade for grade in np.unique(source.grades)}
    segments = by_segment(source, report.pairs, scores.logits, report.settings)
    return _ModelPart(
        name,
        {estimate.name: estimate for estimate in measure(source, scores, report.settings)},
        {difference.name: difference for difference in differences},
        None if probabilities is None else brier(probabilities, source.targets),
        None
        if probabilities is None
        else reliability_diagram(reliability(probabilities, source.targets, report.settings.bins)),
        score_histogram(
            scores.logits if probabilities is None else probabilities,
            grades,
            "score" if probabilities is None else "predicted probability",
        ),
        {(figure.kind, figure.segment): figure for figure in segments},
    )


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("training.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

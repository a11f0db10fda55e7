"""Prints how a run's models and a served model rank, beside two floors that need no training."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from artifact import InputTemplate, TemplateField
from artifact.calibration import Calibration

from ..config import Config
from ..config.evaluation import Evaluation
from ..cross_encoder import TEMPLATE_FILE
from ..data import JudgedPair, judged_pairs, read_all_judgements
from ..errors import TrainingError
from ..runs import CONFIG_FILE, read_run, write_json
from ..student import read_student
from ..teacher.similarity import SentenceEncoder, Similarity
from ..teacher.teacher import TEACHER_FILE, fit_similarity, read_teacher, similarity_of
from .compare import compare
from .evaluate import Scorer, finite_scores, word_overlap
from .metrics import Estimate, ModelScores, measure
from .raters import read_rater_ceiling
from .report import ReportInput, write_report
from .served import ServedScorer
from .sources import JudgedSource, gain_mapping, sources_of

TITLE_ONLY = InputTemplate(fields=(TemplateField(name="title", max_tokens=80),), max_query_tokens=32, max_tokens=128)
SMALL_CACHE = 64 << 20
"""Bytes of encodings kept by the two encoders, which see most texts once."""
REPORT_FILE = "report.html"
TEACHER = "teacher"
SERVED = "served at"

Model = Callable[[Sequence[JudgedPair]], ModelScores]


def print_evaluation(
    config: Config,
    data: Path,
    run: Path,
    split: str,
    urls: Sequence[str],
    key: str | None,
    html: Path | None = None,
    settings: Evaluation | None = None,
) -> None:
    """Prints Markdown tables: a row a model, then how the last differs from teacher, floors and other served ones.

    With a run, also writes `evaluation-SPLIT.json` and `report.html` there.

    Args:
        config: names the judgements.
        data: folder of the data files.
        run: folder of a run; it need not exist.
        split: train or test.
        urls: of services to evaluate too, each once.
        key: that all of them take.
        html: where to write the report to, in place of the run's folder.
        settings: of metrics and intervals.

    Raises:
        TrainingError: the judgements have nothing to measure in the split, or data or a model cannot be read.
    """
    settings = settings or Evaluation()
    pairs = _pairs(config, data, run, split)
    sources = sources_of(pairs, config.data, split)
    ceilings = _ceilings(config, data, split, settings)
    models, rows = {}, {}
    for name, model in _models(config, data, run, urls, key).items():
        print(f"scoring with {name} ...", file=sys.stderr)
        models[name] = model(pairs) if pairs else None
        rows[name] = [
            estimate
            for source in sources
            if (scores := models[name]) is not None
            for estimate in measure(source, scores.of(source), settings)
        ]
        if not rows[name]:
            raise TrainingError(f"the judgements have nothing to measure in the split {split}")
    scored = {name: scores for name, scores in models.items() if scores is not None}
    _print_figures(rows, sources)
    _print_differences(scored, sources, settings)
    made = (run / CONFIG_FILE).exists()
    if made:
        content = {name: [estimate.as_dict() for estimate in estimates] for name, estimates in rows.items()}
        write_json(run / f"evaluation-{split}.json", content)
    path = html or (run / REPORT_FILE if made else None)
    if path is not None:
        baseline = TEACHER if TEACHER in scored and list(scored)[-1] != TEACHER else next(iter(scored))
        title = f"Evaluation of {run.name}" if made else "Evaluation"
        report = ReportInput(title, scored, pairs, config.data, split, baseline, settings, ceilings=ceilings)
        print(f"writing {path}: every model against {baseline}, with pictures ...", file=sys.stderr)
        write_report(path, report)
        print(f"\nWith pictures: {path}")


def _pairs(config: Config, data: Path, folder: Path, split: str) -> list[JudgedPair]:
    """The judged pairs of a split: where there is a run, those that it kept from training, if they are test ones."""
    if (folder / CONFIG_FILE).exists():
        run = read_run(folder, data)
        if run.config.data != config.data:
            raise TrainingError(
                f"{folder}: was trained on other data sources than the configuration names, or other splits of them, "
                "so that its training queries could be among these test ones; evaluate with the run's configuration"
            )
        return list(judged_pairs(run, split))
    return [pair for pair in read_all_judgements(data, config.data) if pair.split == split]


def _print_figures(rows: Mapping[str, Sequence[Estimate]], sources: Sequence[JudgedSource]) -> None:
    headings = {}
    for estimate in (estimate for estimates in rows.values() for estimate in estimates):
        headings[estimate.data, estimate.name] = (
            f"{estimate.data} {estimate.name} ({estimate.split}, n = {estimate.size})"
        )
    ordered = [column for source in sources for column in headings if column[0] == source.name]
    print("| model | " + " | ".join(headings[column] for column in ordered) + " |")
    print("|---" * (len(ordered) + 1) + "|")
    for name, estimates in rows.items():
        cells = {(estimate.data, estimate.name): str(estimate) for estimate in estimates}
        print(f"| {name} | " + " | ".join(cells.get(column, "–") for column in ordered) + " |")
    print(
        "\nIn brackets: 95 % bootstrap intervals, over queries for nDCG, MRR, ECE and the AUC of all pairs, over pairs "
        "for the other AUCs. ECE: against soft targets; – where scores are no probabilities."
    )
    for source in sources:
        if source.settings.ndcg_gains is not None:
            print(f"nDCG of {source.name}: {gain_mapping(source.settings.ndcg_gains)}.")


def _print_differences(
    models: Mapping[str, ModelScores], sources: Sequence[JudgedSource], settings: Evaluation
) -> None:
    *others, last = models
    references = [name for name in others if name == TEACHER or name.endswith("(floor)") or name.startswith(SERVED)]
    if not references:
        return
    print(f"\n| {last} minus | figure | difference | smallest visible |")
    print("|---|---|---|---|")
    for name in references:
        for source in sources:
            for found in compare(source, models[last].of(source), models[name].of(source), settings):
                print(f"| {name} | {found.data} {found.name} | {found} | {found.resolvable:.3f} |")
    print(
        "\nPaired on the same pairs; p is two-sided and not corrected for the number of comparisons. Smallest visible: "
        "the true difference that this test set shows as significant in 80 % of cases."
    )


def _ceilings(config: Config, data: Path, split: str, settings: Evaluation) -> list[Estimate]:
    sources = {source.name: source for source in config.data.judgements}
    unknown = sorted(set(settings.raters) - set(sources))
    if unknown:
        raise TrainingError(f"evaluation.raters names {unknown}, the judgements are {sorted(sources)}")
    return [
        estimate
        for name, columns in settings.raters.items()
        for estimate in read_rater_ceiling(data, sources[name], columns, split, settings)
    ]


def _models(config: Config, data: Path, folder: Path, urls: Sequence[str], key: str | None) -> dict[str, Model]:
    models = {"word overlap (floor)": _scored(word_overlap, None)}
    cosine = Similarity(SentenceEncoder(config.encoder, "fp32", cache_bytes=SMALL_CACHE), TITLE_ONLY)
    models[f"{config.encoder} cosine, untrained (floor)"] = _scored(lambda pairs: cosine.features(pairs)[:, 0], None)
    if (folder / CONFIG_FILE).exists():
        run = read_run(folder, data)
        if (run.teacher / TEACHER_FILE).exists():
            similarity = similarity_of(run, SMALL_CACHE)
            models["similarity (weak labels)"] = _scored(fit_similarity(run, similarity), Calibration())
            models[TEACHER] = _scored(read_teacher(run, similarity), Calibration())
        if (run.student / TEMPLATE_FILE).exists():
            models["student (checkpoint)"] = _scored(read_student(run.student).logits, Calibration())
    for url in urls:
        models[f"{SERVED} {url}"] = _served(ServedScorer(url, key))
    return models


def _scored(scorer: Scorer, calibration: Calibration | None) -> Model:
    return lambda pairs: ModelScores(finite_scores(scorer, pairs), calibration)


def _served(scorer: ServedScorer) -> Model:
    def score(pairs: Sequence[JudgedPair]) -> ModelScores:
        logits, scores = scorer.logits_and_scores([(pair.query, pair.product) for pair in pairs])
        return ModelScores(logits, None, scores)

    return score

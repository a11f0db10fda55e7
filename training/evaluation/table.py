"""Prints how a run's models and a served model rank, beside two floors that need no training."""

import sys
from pathlib import Path

from artifact import InputTemplate, TemplateField

from ..config import Config
from ..cross_encoder import TEMPLATE_FILE, CrossEncoder
from ..data import read_all_judgements
from ..errors import TrainingError
from ..runs import CONFIG_FILE, read_run, write_json
from ..teacher.similarity import SentenceEncoder, Similarity
from ..teacher.teacher import SHORTCUT_FILE, fit_similarity, read_teacher, similarity_of
from .evaluate import Scorer, evaluate, word_overlap
from .served import ServedScorer

TITLE_ONLY = InputTemplate(fields=(TemplateField(name="title", max_tokens=80),), max_query_tokens=32, max_tokens=128)


def print_evaluation(config: Config, data: Path, run: Path, split: str, url: str | None, key: str | None) -> None:
    """Prints a Markdown table, one row per model; with a run, also writes it to `evaluation-SPLIT.json` there."""
    pairs = read_all_judgements(data, config.data)
    rows = {}
    for name, scorer in _scorers(config, data, run, url, key).items():
        print(f"scoring with {name} ...", file=sys.stderr)
        rows[name] = evaluate(scorer, pairs, config.data, split)
    if not next(iter(rows.values())):
        raise TrainingError(f"the judgements have nothing to measure in the split {split}")
    headings = [f"{e.data} {e.name} ({e.split}, n = {e.size})" for e in next(iter(rows.values()))]
    print("| model | " + " | ".join(headings) + " |")
    print("|---" * (len(headings) + 1) + "|")
    for name, estimates in rows.items():
        print(f"| {name} | " + " | ".join(str(estimate) for estimate in estimates) + " |")
    print("\nIn brackets: 95 % bootstrap intervals, over queries for nDCG, over pairs for AUC.")
    if (run / CONFIG_FILE).exists():
        content = {name: [estimate.as_dict() for estimate in estimates] for name, estimates in rows.items()}
        write_json(run / f"evaluation-{split}.json", content)


def _scorers(config: Config, data: Path, folder: Path, url: str | None, key: str | None) -> dict[str, Scorer]:
    scorers: dict[str, Scorer] = {"word overlap (floor)": word_overlap}
    cosine = Similarity(SentenceEncoder(config.encoder, "fp32"), TITLE_ONLY)
    scorers[f"{config.encoder} cosine, untrained (floor)"] = lambda pairs: cosine.features(pairs)[:, 0]
    if (folder / CONFIG_FILE).exists():
        run = read_run(folder, data)
        if (run.teacher / SHORTCUT_FILE).exists():
            similarity = similarity_of(run)
            scorers["similarity (weak labels)"] = fit_similarity(run, similarity)
            scorers["teacher"] = read_teacher(run, similarity)
        if (run.student / TEMPLATE_FILE).exists():
            scorers["student (checkpoint)"] = CrossEncoder.read(run.student).logits
    if url is not None:
        scorers[f"served at {url}"] = ServedScorer(url, key)
    return scorers

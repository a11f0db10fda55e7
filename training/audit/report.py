"""What an audit found, by model version, as JSON and as text for people."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from artifact import PRODUCT_FIELDS

from .disagreement import CLEAR, Audited, Disagreement, WorstPairs
from .shards import read_labelled

ALL = "all"
SHOWN_CHARS = 60

COLUMNS = {
    "requests": "requests",
    "pairs": "pairs",
    "mean_absolute_difference": "mean abs. difference",
    "kendall_tau": "Kendall tau",
    "inversions": "inversions",
    "clear_inversions": "clear inversions",
    "auc": "AUC",
    "mean_served_score": "mean served",
    "mean_teacher_score": "mean teacher",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What to report: from which probability of the teacher's on a product is relevant, and how many worst pairs."""

    relevant: float = 0.5
    worst: int = 20


def compare(shards: Iterable[Path], asked: Asked) -> dict[str, Any]:
    """The report of labelled shards, read one at a time.

    Raises:
        TrainingError: a shard is damaged.
    """
    versions: dict[str, Disagreement] = {}
    everything = Disagreement(asked.relevant)
    worst = WorstPairs(asked.worst)
    for path in shards:
        for rows in _requests(read_labelled(path)):
            audited = _audited(rows)
            name = f"{rows['model'][0].as_py()} {rows['version'][0].as_py()}"
            for each in (versions.setdefault(name, Disagreement(asked.relevant)), everything):
                each.add(audited)
            _note_worst(worst, rows, audited)
    figures = {name: versions[name].figures() for name in sorted(versions)}
    return {
        "relevant_from": asked.relevant,
        "clear_difference": CLEAR,
        "versions": figures,
        ALL: everything.figures(),
        "worst_pairs": worst.pairs(),
    }


def _requests(table: pa.Table) -> Iterator[pa.Table]:
    """The rows of each request: they stand together."""
    numbers = table["list"].to_numpy()
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        yield table.slice(start, end - start).combine_chunks()


def _audited(rows: pa.Table) -> Audited:
    served, scores, teacher = (
        rows[name].to_numpy().astype(np.float64) for name in ("served_logit", "served_score", "logit")
    )
    return Audited(served, scores, teacher)


def _note_worst(worst: WorstPairs, rows: pa.Table, audited: Audited) -> None:
    teacher = audited.teacher_scores
    differences = np.abs(audited.served_scores - teacher)
    for place in np.argsort(-differences).tolist():
        difference = float(differences[place])
        if not worst.would_take(difference):
            return
        row = rows.slice(place, 1).to_pylist()[0]
        worst.add(
            difference,
            {
                "served_score": row["served_score"],
                "teacher_score": float(teacher[place]),
                "query": row["query"],
                "product": {field: row[field] for field in PRODUCT_FIELDS if row[field]},
                "request_id": row["request_id"],
                "model": row["model"],
                "version": row["version"],
            },
        )


def as_text(report: Mapping[str, Any]) -> str:
    """Markdown: a row for each model version, then the worst pairs."""
    lines = [
        "| model version | " + " | ".join(COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
        *(_row(name, figures) for name, figures in {**report["versions"], ALL: report[ALL]}.items()),
        "",
        "Kendall tau: mean over requests, in brackets the half width of its 95 % interval. Inversions: share of a "
        "request's product pairs that the service orders otherwise than the teacher, a tie in one counting half; clear "
        f"ones: of those whose probabilities the teacher sees at least {report['clear_difference']:g} apart. AUC: of "
        f"the served score, for products that the teacher gives {report['relevant_from']:g} or more.",
    ]
    if report["worst_pairs"]:
        lines += ["", "| served | teacher | query | product | version |", "|---|---|---|---|---|"]
        lines += [_worst_row(pair) for pair in report["worst_pairs"]]
    return "\n".join(lines)


def _row(name: str, figures: Mapping[str, float | int | None]) -> str:
    cells = []
    for column in COLUMNS:
        value = figures[column]
        cell = "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
        half_width = figures["kendall_tau_half_width"]
        if column == "kendall_tau" and half_width is not None:
            cell += f" (± {half_width:.4f})"
        cells.append(cell)
    return f"| {name} | " + " | ".join(cells) + " |"


def _worst_row(pair: Mapping[str, Any]) -> str:
    product = ", ".join(pair["product"].values())
    return (
        f"| {pair['served_score']:.3f} | {pair['teacher_score']:.3f} | {_cell(pair['query'])} | {_cell(product)} | "
        f"{pair['version']} |"
    )


def _cell(text: str) -> str:
    """On one line, and short enough to read; nothing in it can end the cell."""
    flat = " ".join(text.split()).replace("|", "/")
    return flat if len(flat) <= SHOWN_CHARS else flat[: SHOWN_CHARS - 1] + "…"

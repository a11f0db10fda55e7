"""The page of a reproduction: tables, curve and verdicts made from its results, between two markers of the page.

What stands outside the markers is written by people and left as it is.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from ..runs import read_json, replacing
from .picture import draw_curves
from .reproduce import COSINE, OVERLAP, RANDOM, TEACHER

START, END = "<!-- made by `python -m training.experiments report` -->", "<!-- end of what is made -->"
HUMAN = "human"
NEAR = 0.005
"""How far below its teacher the largest student may end, in nDCG@10."""


def write_report(results_path: Path, page: Path) -> None:
    """Writes the picture beside the page, and tables and verdicts into it.

    Raises:
        TrainingError: there are no results, or the page lacks the markers.
    """
    results = read_json(results_path)
    text = page.read_text("utf-8") if page.exists() else f"# Reproduction\n\n{START}\n{END}\n"
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise TrainingError(f"{page}: expected one line {START!r} and after it one line {END!r}, to write between them")
    picture = page.with_suffix(".svg")
    draw_curves(results, picture)
    before, _, rest = text.partition(START)
    after = rest.partition(END)[2]
    with replacing(page) as new:
        new.write_text(f"{before}{START}\n\n{render(results, picture.name)}\n{END}{after}", "utf-8")


def render(results: dict[str, Any], picture: str) -> str:
    """The made part of the page, as Markdown."""
    machine = results["machine"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    lines = [
        f"Machine: {machine['processor']}, {machine['cores']} cores{gpu}; Python {machine['python']}, torch "
        f"{machine['torch']}. Commit {results['commit']}. Scale {results['scale']:g}. In brackets 95 % bootstrap "
        "intervals over queries (nDCG) or pairs (AUC); differences are paired.",
        "",
        f"![nDCG@10 against labelled pairs]({picture})",
    ]
    for name, world in results["worlds"].items():
        lines += ["", f"## {_title(name)}", "", *_facts(world), "", *_table(world), "", *_verdicts(world)]
        lines += ["", *_trials(world), "", *_costs(world)]
    return "\n".join(lines) + "\n"


def _title(world: str) -> str:
    return {"controlled": "The controlled world", "human": "Human judgements"}[world]


def _facts(world: dict[str, Any]) -> list[str]:
    data, made = world["data"], world["steps"].get("world")
    line = (
        f"{data['train_pairs']:,} judged training pairs of {data['train_queries']:,} queries, {data['test_pairs']:,} "
        f"test pairs of {data['test_queries']:,} queries, {data['labelled_pairs']:,} pairs labelled by the teacher."
    )
    if made is not None:
        settings = made["settings"]
        line += (
            f" {made['products']:,} products. {settings['raters']} raters misread {settings['misread']:.0%} of the "
            f"pairs each; their median is wrong for {made['raters_wrong_share']:.0%}. Of the wanted attributes that a "
            f"product has, the student can see {made['visible_share']:.0%}; the others stand in its description."
        )
    return [line]


def _table(world: dict[str, Any]) -> list[str]:
    metrics = world["metrics"]
    students = {student["name"]: student for student in world["students"]}
    heads = [f"{m['data']} {m['name']} (n = {m['size']})" for m in metrics]
    lines = [
        "| model | labelled pairs | epochs | " + " | ".join(heads) + " |",
        "|---|---:|---:|" + "---|" * len(heads),
    ]
    for name in [RANDOM, OVERLAP, COSINE, TEACHER, *students]:
        student = students.get(name)
        pairs = f"{student['pairs']:,}" if student else ""
        epochs = f"{student['epochs']:g}" if student else ""
        cells = [_estimate(metric["models"].get(name)) for metric in metrics]
        lines.append(f"| {_label(name, student)} | {pairs} | {epochs} | " + " | ".join(cells) + " |")
    return lines


def _label(name: str, student: dict[str, Any] | None) -> str:
    if student is None:
        return name if name == TEACHER else f"{name} (floor)"
    if name == HUMAN:
        return "student, human labels"
    return f"student, teacher's labels, {student['loss']} loss"


def _estimate(figure: dict[str, Any] | None) -> str:
    return "" if figure is None else f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _verdicts(world: dict[str, Any]) -> list[str]:
    """What agrees with the paper's claims and what does not, in the first figure of each data set."""
    lines = []
    seen = set()
    for metric in world["metrics"]:
        if metric["data"] in seen:
            continue
        seen.add(metric["data"])
        lines += [f"{metric['data']}, {metric['name']}:", "", *_claims(world, metric), ""]
    return lines[:-1]


def _claims(world: dict[str, Any], metric: dict[str, Any]) -> list[str]:
    models = metric["models"]
    curve = [s for s in world["students"] if s["loss"] == "margin"]
    values = [models[s["name"]]["value"] for s in curve]
    rises = all(low < high for low, high in pairwise(values))
    way = " → ".join(f"{value:.3f}" for value in values)
    lines = [f"- {_holds(rises)}: the student improves with every step of more teacher-labelled pairs ({way})."]
    lines += [_step(below, above, models) for below, above in pairwise(curve)]
    agreements = world["agreement"].get(metric["data"])
    if agreements:
        taus = ", ".join(f"{agreements[s['name']]:.3f}" for s in curve)
        lines.append(f"- Order of each query's products, against the teacher's (mean Kendall tau): {taus}.")
    last = models[curve[-1]["name"]]["against"]
    gain, gap = last[HUMAN], last[TEACHER]
    lines.append(
        f"- {_holds(gain['low'] > 0)}: with {curve[-1]['pairs']:,} pairs it is above the student of human labels alone "
        f"by more than the interval ({_difference(gain)})."
    )
    lines.append(
        f"- {_holds(gap['value'] >= -NEAR)}: it ends within {NEAR} of its teacher or above it ({_difference(gap)})."
    )
    twins = {s["loss"]: s["name"] for s in world["students"] if s["pairs"] == _pointwise_pairs(world)}
    if {"margin", "pointwise"} <= set(twins):
        margin, pointwise = (models[twins[loss]]["value"] for loss in ("margin", "pointwise"))
        lines.append(
            f"- {_holds(margin > pointwise)}: on the same {_pointwise_pairs(world):,} pairs the margin loss is above "
            f"pointwise squared error ({margin:.3f} against {pointwise:.3f})."
        )
    return lines


def _step(below: dict[str, Any], above: dict[str, Any], models: dict[str, Any]) -> str:
    difference = _difference(models[above["name"]]["against"][below["name"]])
    return f"  - {below['pairs']:,} to {above['pairs']:,}: {difference}."


def _pointwise_pairs(world: dict[str, Any]) -> int:
    return next((int(s["pairs"]) for s in world["students"] if s["loss"] == "pointwise"), 0)


def _holds(truth: bool) -> str:
    return "Holds" if truth else "Does **not** hold"


def _difference(figure: dict[str, Any]) -> str:
    return f"{figure['value']:+.3f} [{figure['low']:+.3f}, {figure['high']:+.3f}], p = {figure['p']:.3f}"


def _trials(world: dict[str, Any]) -> list[str]:
    """Which learning rates and epochs were tried, and which had the lowest loss on held-out lists."""
    lines = ["| recipe tried for | learning rate | epochs | loss on held-out lists |", "|---|---:|---:|---:|"]
    trials = world["trials"]
    for trial in trials:
        best = min(t["dev_loss"] for t in trials if t["kind"] == trial["kind"])
        loss = f"{trial['dev_loss']:.4f}"
        loss = f"**{loss}**" if trial["dev_loss"] == best else loss
        kind = "human labels" if trial["kind"] == HUMAN else f"{trial['kind']} loss"
        lines.append(f"| {kind} | {trial['learning_rate']:g} | {trial['epochs']:g} | {loss} |")
    return lines


def _costs(world: dict[str, Any]) -> list[str]:
    lines = ["| step | pairs | minutes | pairs/s |", "|---|---:|---:|---:|"]
    for name, step in world["steps"].items():
        pairs = step.get("pairs") if name == "label" else None
        speed = f"{pairs / step['seconds']:,.0f}" if pairs and step["seconds"] else ""
        count = f"{pairs:,}" if pairs else ""
        note = " (of an earlier run)" if "reused_from" in step else ""
        lines.append(f"| {name}{note} | {count} | {step['seconds'] / 60:.1f} | {speed} |")
    for s in world["students"]:
        name = re.sub(r"-\d+$", "", s["name"])
        visits = f"{s['pairs']:,} × {s['epochs']:g}"
        lines.append(f"| student, {name} | {visits} | {s['seconds'] / 60:.1f} | {s['pairs_per_s']:,.0f} |")
    return lines

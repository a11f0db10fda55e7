"""The curve of a reproduction: nDCG@10 against labelled pairs, one panel a world."""

from pathlib import Path
from typing import Any

from ..runs import replacing


def draw_curves(results: dict[str, Any], path: Path) -> None:
    """Draws an SVG, the same for the same results."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    worlds = results["worlds"]
    with mpl.rc_context({"svg.hashsalt": "shelfscore", "font.size": 9}):
        figure = Figure(figsize=(5.2 * len(worlds), 3.8), layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(1, len(worlds), squeeze=False)[0]
        for panel, (name, world) in zip(panels, worlds.items(), strict=True):
            _draw(panel, name, world)
        with replacing(path) as new:
            figure.savefig(new, format="svg", metadata={"Date": None})


def _draw(panel: Any, name: str, world: dict[str, Any]) -> None:
    metric = next(m for m in world["metrics"] if m["name"] == "nDCG@10")
    models = metric["models"]
    for loss, marker in (("margin", "o-"), ("pointwise", "s")):
        own = [s for s in world["students"] if s["loss"] == loss]
        rows = [models[s["name"]] for s in own]
        values = [row["value"] for row in rows]
        below = [max(0.0, row["value"] - row["low"]) for row in rows]
        above = [max(0.0, row["high"] - row["value"]) for row in rows]
        pairs = [s["pairs"] for s in own]
        panel.errorbar(pairs, values, yerr=[below, above], fmt=marker, capsize=3, label=f"student, {loss} loss")
    for reference, style in (("teacher", "-"), ("human", "--"), ("cosine", ":")):
        label = {"human": "student, human labels"}.get(reference, reference)
        panel.axhline(models[reference]["value"], color="grey", linestyle=style, linewidth=1, label=label)
    panel.set_xscale("log")
    panel.set_xlabel("pairs labelled by the teacher")
    panel.set_ylabel(f"nDCG@10 on {metric['data']} test")
    panel.set_title({"controlled": "controlled world", "human": "human judgements"}[name])
    panel.legend(fontsize=8)

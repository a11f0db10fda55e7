"""The picture: a panel for each figure, online milliseconds to the right, quality upwards, the front as a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.runs import replacing

from .times import Times
from .world import TEACHER, World


def draw_front(worlds: Sequence[World], times: Mapping[str, Times], path: Path) -> None:
    """Draws an SVG, the same for the same figures."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    panels = [(world.name, metric) for world in worlds for metric in world.figures]
    with mpl.rc_context({"svg.hashsalt": "shelfscore", "font.size": 8}):
        figure = Figure(figsize=(5.6 * len(panels), 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        for panel, (name, metric) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw(panel, metric, times)
            panel.set_title(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as new:
            figure.savefig(new, format="svg", metadata={"Date": None})


def front_of(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Those that no other is both faster than and at least as good as, from the fastest on.

    Args:
        points: (milliseconds, quality) by name.
    """
    found: list[str] = []
    for name in sorted(points, key=lambda each: (points[each][0], -points[each][1])):
        if not found or points[name][1] > points[found[-1]][1]:
            found.append(name)
    return found


def _draw(panel: Any, metric: dict[str, Any], times: Mapping[str, Times]) -> None:
    models = metric["models"]
    points = {
        name: (float(np.median(taken.online)) * 1e3, float(models[name]["value"]))
        for name, taken in times.items()
        if name in models
    }
    for name, (ms, value) in points.items():
        split = times[name].state_bytes > 0
        panel.plot(ms, value, "o" if split else "s", color="tab:blue" if split else "tab:orange")
        panel.annotate(name, (ms, value), xytext=(4, 3), textcoords="offset points", fontsize=6)
    line = [points[name] for name in front_of(points)]
    panel.step(*zip(*line, strict=True), where="post", color="grey", linewidth=1)
    if TEACHER in models:
        panel.axhline(models[TEACHER]["value"], color="grey", linestyle=":", linewidth=1, label=TEACHER)
        panel.legend(fontsize=7)
    panel.set_xscale("log")
    panel.set_xlabel("online milliseconds for 64 products")
    panel.set_ylabel(f"{metric['name']} on {metric['data']} test")

"""The picture: a panel for each figure, online milliseconds to the right, quality upwards, the front as a line.

Many students take about the same time, so that names beside the points would cover each other: points are numbered.
"""

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
    from matplotlib.lines import Line2D

    panels = [(world.name, metric) for world in worlds for metric in world.figures]
    numbers = {name: i for i, name in enumerate(sorted(times, key=lambda each: _ms(times[each])), 1)}
    with mpl.rc_context({"svg.hashsalt": "shelfscore", "font.size": 8}):
        figure = Figure(figsize=(4.6 * len(panels) + 2.6, 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        for panel, (name, metric) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            _draw(panel, metric, times, numbers)
            panel.set_title(name)
        keys = [
            Line2D([], [], linestyle="", marker=_marker(times[name]), color=_colour(times[name])) for name in numbers
        ]
        named = [f"{number}  {name}" for name, number in numbers.items()]
        figure.legend(keys, named, loc="outside right upper", fontsize=7)
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


def _ms(taken: Times) -> float:
    return float(np.median(taken.online)) * 1e3


def _marker(taken: Times) -> str:
    return "o" if taken.state_bytes else "s"


def _colour(taken: Times) -> str:
    return "tab:blue" if taken.state_bytes else "tab:orange"


def _draw(panel: Any, metric: dict[str, Any], times: Mapping[str, Times], numbers: Mapping[str, int]) -> None:
    models = metric["models"]
    points = {name: (_ms(taken), float(models[name]["value"])) for name, taken in times.items() if name in models}
    for name, point in points.items():
        panel.plot(*point, _marker(times[name]), color=_colour(times[name]), markersize=4)
        panel.annotate(str(numbers[name]), point, xytext=(3, 2), textcoords="offset points", fontsize=7)
    line = [points[name] for name in front_of(points)]
    panel.step(*zip(*line, strict=True), where="post", color="grey", linewidth=1)
    if TEACHER in models:
        panel.axhline(models[TEACHER]["value"], color="grey", linestyle=":", linewidth=1, label=TEACHER)
        panel.legend(fontsize=7)
    panel.set_xscale("log")
    panel.set_xlabel("online milliseconds for 64 products")
    panel.set_ylabel(f"{metric['name']} on {metric['data']} test")

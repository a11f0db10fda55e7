"""The dashboard as one picture, drawn from what Prometheus answered: for a page, where no Grafana is at hand."""

import io
import math
from collections.abc import Sequence
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any

from ..errors import LoadtestError
from .dashboard import Panel
from .prometheus import Series

Drawn = Sequence[tuple[str, Sequence[tuple[Panel, Sequence[tuple[str, Series]]]]]]
"""Rows of a heading and panels, each with its series by legend."""

_COLUMNS = 3
_PANEL_IN = (4.3, 1.75)
_MOST_LEGENDS = 6
_POINTS = 90
_DPI = 90
_COLOURS = 64
_LONG_S = 60.0
_STYLE = {
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.0,
    "legend.frameon": False,
    "legend.fontsize": 6,
    "text.parse_math": False,
}
_UNITS = {"reqps": "requests/s", "cps": "1/s", "percentunit": "%", "s": "ms", "bytes": "MB", "short": ""}
_FACTORS = {"percentunit": 100.0, "s": 1e3, "bytes": 1e-6}


def draw_dashboard(rows: Drawn, start_s: float, title: str, path: Path) -> None:
    """Writes the picture, a PNG. Times are minutes since `start_s`.

    Raises:
        LoadtestError: it cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    lines = [-(-len(panels) // _COLUMNS) for _, panels in rows]
    with mpl.rc_context(_STYLE):
        size = (_COLUMNS * _PANEL_IN[0], sum(lines) * _PANEL_IN[1] + 0.3 * len(lines) + 0.3)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=9)
        parts = figure.subfigures(len(rows), 1, height_ratios=[count + 0.15 for count in lines], squeeze=False)[:, 0]
        for part, count, (heading, panels) in zip(parts, lines, rows, strict=True):
            part.suptitle(heading, x=0.01, ha="left", fontsize=9, fontweight="bold")
            axes = part.subplots(count, _COLUMNS, squeeze=False).ravel().tolist()
            for axis, (panel, named) in zip(axes, panels, strict=False):
                _paint(axis, panel, named, start_s)
            for axis in axes[len(panels) :]:
                axis.set_axis_off()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI)
    try:
        # Of few colours, which takes a quarter of the bytes.
        Image.open(buffer).convert("RGB").quantize(_COLOURS).save(path, format="png", optimize=True)
    except OSError as error:
        raise LoadtestError(f"{path}: cannot be written: {error}") from None


def _paint(axis: Any, panel: Panel, named: Sequence[tuple[str, Series]], start_s: float) -> None:
    factor, unit = _FACTORS.get(panel.unit, 1.0), _UNITS.get(panel.unit, panel.unit)
    if panel.unit == "s" and any(value > _LONG_S for _, series in named for _, value in series.points):
        factor, unit = 1.0, "s"
    axis.set_title(panel.title + (f", {unit}" if unit else ""))
    if panel.kind != "timeseries":
        axis.set_axis_off()
        size = 20 if panel.kind == "stat" else 7
        lines = [_line(panel, name, series) for name, series in named]
        axis.text(0.02, 0.9, "\n".join(lines), va="top", fontsize=size, transform=axis.transAxes)
        return
    highest = 0.0
    # What is most in the picture first in the legend.
    for number, (name, series) in enumerate(sorted(named, key=lambda pair: -max(v for _, v in pair[1].points))):
        times, values = _line_of(series, factor, start_s)
        highest = max([highest, *(value for value in values if not math.isnan(value))])
        axis.plot(times, values, label=name if number < _MOST_LEGENDS else None)
    for limit in panel.limits:
        if limit * factor <= 2 * highest:
            axis.axhline(limit * factor, color="tab:red", linewidth=0.6, linestyle="--")
    axis.set_ylim(0, highest * 1.15 or 1)
    if any(name for name, _ in named):
        axis.legend(loc="upper left", ncols=2)


def _line_of(series: Series, factor: float, start_s: float) -> tuple[list[float], list[float]]:
    """Minutes and values, thinned; not a number where there was none for a while, so that no line bridges it."""
    points = series.points[:: max(1, len(series.points) // _POINTS)]
    steps = sorted(later - earlier for (earlier, _), (later, _) in pairwise(points))
    usual_s = steps[len(steps) // 2] if steps else 0.0
    times, values = [], []
    for (at_s, value), following in zip_longest(points, points[1:]):
        times.append((at_s - start_s) / 60)
        values.append(value * factor)
        if following is not None and following[0] - at_s > 3 * usual_s:
            times.append(times[-1])
            values.append(math.nan)
    return times, values


def _line(panel: Panel, name: str, series: Series) -> str:
    if panel.kind == "stat":
        return f"{series.points[-1][1]:g} {name}"
    return "  ".join(f"{key}={value}" for key, value in sorted(series.labels.items()))

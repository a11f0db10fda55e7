"""The pictures of a report: SVG as data addresses, so that the page needs no other file."""

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from .calibration import ReliabilityBin
from .metrics import Estimate

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.grid": True,
    "grid.color": "#e6e8eb",
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "legend.frameon": False,
    "svg.fonttype": "path",  # another machine may lack the font, and then labels would run over
    "svg.hashsalt": "shelfscore",
    "text.parse_math": False,  # a name with dollar signs is a name
}
COLOURS = ("#1f5fa8", "#c8553d", "#3a8f6b", "#8b5fbf", "#b8860b", "#5b6770")
BARS = 20

Curve = Sequence[tuple[str, int, Estimate]]
"""(label, size, figure) points; points of one label make one line."""


def curve(points: Curve) -> str:
    """Quality against data size on a logarithmic axis, with 95 % intervals."""
    lines: dict[str, list[tuple[int, Estimate]]] = {}
    for label, size, estimate in points:
        lines.setdefault(label, []).append((size, estimate))

    def draw(axes: Axes) -> None:
        for i, (label, line) in enumerate(lines.items()):
            line = sorted(line, key=lambda point: point[0])
            sizes, found = [size for size, _ in line], [estimate for _, estimate in line]
            values = [e.value for e in found]
            below = [max(0.0, e.value - e.low) for e in found]
            above = [max(0.0, e.high - e.value) for e in found]
            # Lines at the same size would hide each other's intervals.
            places = [size * 1.03**i for size in sizes]
            colour = COLOURS[i % len(COLOURS)]
            axes.errorbar(
                places, values, (below, above), marker="o", ms=4, capsize=3, lw=1.5, color=colour, label=label
            )
        axes.set_xscale("log")
        sizes = sorted({size for _, size, _ in points})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("training pairs")
        axes.set_ylabel(points[0][2].name)
        axes.legend(loc="lower right")

    return _picture(draw, 7.2, 3.8)


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> str:
    """Mean soft target against mean predicted probability; a point's area is its share of pairs."""
    pairs = sum(b.pairs for b in bins)

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color="#8a8f98", lw=1, ls="--")
        predicted, target = [b.predicted for b in bins], [b.target for b in bins]
        axes.plot(predicted, target, color=COLOURS[0], lw=1.2)
        axes.scatter(predicted, target, [15 + 400 * b.pairs / pairs for b in bins], color=COLOURS[0], alpha=0.6)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_xlabel("mean predicted probability")
        axes.set_ylabel("mean soft target")

    return _picture(draw, 3.4, 3.4)


def score_histogram(values: NDArray[np.float64], by_grade: Mapping[str, NDArray[np.bool_]], label: str) -> str:
    """The share of each grade's pairs by score, one line a grade.

    Args:
        values: scores of pairs, shape (pairs,).
        by_grade: grade -> mask of its pairs, shape (pairs,).
        label: what the scores are.
    """
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, BARS + 1)

    def draw(axes: Axes) -> None:
        for i, (grade, mask) in enumerate(by_grade.items()):
            shares = np.histogram(values[mask], edges)[0] / mask.sum()
            colour = COLOURS[i % len(COLOURS)]
            name = f"{grade} ({int(mask.sum()):,})"
            axes.stairs(shares, edges, color=colour, fill=True, alpha=0.12)
            axes.stairs(shares, edges, color=colour, lw=1.4, label=name)
        axes.set_xlabel(label)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
        axes.set_ylabel("share of the grade's pairs")
        axes.legend(title="grade (pairs)", fontsize=8)

    return _picture(draw, 4.6, 3.4)


def _picture(draw: Callable[[Axes], None], width: float, height: float) -> str:
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the page beside it has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=nothing)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()

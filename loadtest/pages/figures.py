"""The pictures of a page: latency over time, its distribution, rate against p99, and what was read meanwhile."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..measure import Sample, percentile
from .drawing import FAINT, INK, SERIES, draw, log_milliseconds
from .page import Figure, Line, RatePoint, Span
from .series import by_stretch, cumulative, drawable_ms, edges_of, latencies_by_outcome, span_of, thinned

_COLOURS = dict(zip(("accepted", "shed", "late", "failed"), SERIES, strict=False))
_TALL_IN = 2.8
_MOST_LABELLED = 12


def latency_over_time(
    samples: Sequence[Sample], *, limit_ms: float | None = None, spans: Sequence[Span] = ()
) -> Figure:
    """p50, p99 and the slowest of each second, or of longer stretches of a long run, one panel an outcome.

    Args:
        samples: at least one, in any order.
        limit_ms: a line to compare with, such as the objective or the deadline.
        spans: named stretches of the time axis.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for outcome in latencies_by_outcome(samples):
        own = (sample for sample in samples if sample.outcome == outcome)
        points[outcome] = [(sample.due_s, drawable_ms(sample.latency_ms)) for sample in own]
    edges = edges_of(*span_of(points))
    stretch = f"{edges[1] - edges[0]:g} s"
    told = [
        f"{name}, {len(values):,}: p50 {_ms(percentile([ms for _, ms in values], 0.5))}, "
        f"p99 {_ms(percentile([ms for _, ms in values], 0.99))}, slowest {_ms(max(ms for _, ms in values))}"
        for name, values in points.items()
    ]
    text = f"Latency by the time a request was due, over {edges[-1] - edges[0]:g} s. " + "; ".join(told) + "."

    def paint(panels: Sequence[Any]) -> None:
        for panel, (name, values) in zip(panels, points.items(), strict=True):
            by = by_stretch(values, edges)
            colour = _COLOURS[name]
            panel.stairs(by.max, by.edges_s, baseline=None, color=FAINT, lw=0.9, label="slowest")
            panel.stairs(by.p99, by.edges_s, baseline=None, color=colour, lw=1.5, label="p99")
            panel.stairs(by.p50, by.edges_s, baseline=None, color=colour, lw=1.0, ls=(0, (2, 1)), label="p50")
            panel.set_title(f"{name} ({len(values):,})")
            if limit_ms is not None:
                panel.axhline(limit_ms, color=INK, lw=0.8, ls=":", label=f"{limit_ms:g} ms")
            panel.set_yscale("log")
            log_milliseconds(panel.yaxis, "ms")
            panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        _finish_time(panels, spans)

    caption = f"Latency over time, of each {stretch}"
    return Figure(caption, text, draw(len(points), paint, text))


def outcomes_over_time(samples: Sequence[Sample], *, spans: Sequence[Span] = ()) -> Figure:
    """Requests a second by outcome, by when they were due."""
    outcomes = [name for name in _COLOURS if any(sample.outcome == name for sample in samples)]
    points = {name: [(s.due_s, 1.0) for s in samples if s.outcome == name] for name in outcomes}
    edges = edges_of(*span_of(points))
    width = edges[1] - edges[0]
    counts = ", ".join(f"{name} {len(values):,}" for name, values in points.items())
    text = f"Requests a second by outcome, over {edges[-1] - edges[0]:g} s: {counts}."

    def paint(panels: Sequence[Any]) -> None:
        for name, values in points.items():
            rates = [count / width for count in by_stretch(values, edges).count]
            panels[0].stairs(rates, edges, baseline=None, color=_COLOURS[name], lw=1.4, label=name)
        panels[0].set_ylabel("requests/s")
        panels[0].set_ylim(bottom=0)
        panels[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        _finish_time(panels, spans)

    return Figure(f"Outcomes over time, of each {width:g} s", text, draw(1, paint, text, panel_in=2.0))


def latency_cdf(named: Mapping[str, Sequence[float]], *, limit_ms: float | None = None) -> Figure:
    """Share of requests answered within so many milliseconds, on a logarithmic axis; one line a name, none empty."""
    told = [
        f"{name}: half within {_ms(percentile(values, 0.5))}, 99 % within {_ms(percentile(values, 0.99))}"
        for name, values in named.items()
    ]
    text = "Distribution of latency. " + "; ".join(told) + "."

    def paint(panels: Sequence[Any]) -> None:
        panel = panels[0]
        for number, (name, values) in enumerate(named.items()):
            points = cumulative([drawable_ms(value) for value in values])
            points = [(points[0][0], 0.0), *points]
            colour = _COLOURS.get(name, SERIES[number % len(SERIES)])
            xs, ys = zip(*points, strict=True)
            panel.plot(
                xs, ys, drawstyle="steps-post", color=colour, ls=_dashes(number), label=f"{name} ({len(values):,})"
            )
        if limit_ms is not None:
            panel.axvline(limit_ms, color=INK, lw=0.8, ls=":", label=f"{limit_ms:g} ms")
        panel.axhline(0.99, color=FAINT, lw=0.8)
        panel.set_xscale("log")
        log_milliseconds(panel.xaxis, "ms")
        panel.set_ylabel("share of requests")
        panel.set_ylim(0, 1.02)
        panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return Figure("Distribution of latency; the line across is at 99 %", text, draw(1, paint, text, panel_in=_TALL_IN))


def rate_against_p99(points: Sequence[RatePoint], *, limit_ms: float | None = None) -> Figure:
    """p99 at each rate; where a rate was tried more than once, the line goes through the median."""
    drawn = [(point, point.p99_ms) for point in points if point.p99_ms is not None]
    names = list(dict.fromkeys(point.series for point, _ in drawn))
    told = [f"{point.series} {point.rate:.4g}/s: {_ms(p99_ms)}" for point, p99_ms in drawn]
    more = f", and {len(told) - _MOST_LABELLED} more" if len(told) > _MOST_LABELLED else ""
    text = "p99 by rate. " + "; ".join(told[:_MOST_LABELLED]) + more + "."

    def paint(panels: Sequence[Any]) -> None:
        panel = panels[0]
        for number, name in enumerate(names):
            colour = SERIES[number % len(SERIES)]
            by_rate: dict[float, list[float]] = {}
            for point, p99_ms in drawn:
                if point.series == name:
                    by_rate.setdefault(point.rate, []).append(p99_ms)
                    held = point.held is not False
                    panel.plot([point.rate], [p99_ms], color=colour, ls="", marker="o" if held else "x", ms=5)
            rates = sorted(by_rate)
            medians = [statistics.median(by_rate[rate]) for rate in rates]
            panel.plot(rates, medians, color=colour, ls=_dashes(number), lw=1.0, label=name)
        if limit_ms is not None:
            panel.axhline(limit_ms, color=INK, lw=0.8, ls=":", label=f"{limit_ms:g} ms")
        panel.set_yscale("log")
        log_milliseconds(panel.yaxis, "p99, ms")
        panel.set_xlabel("requests/s")
        panel.margins(x=0.04)
        if names or limit_ms is not None:
            panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return Figure("Rate against p99; a cross did not hold", text, draw(1, paint, text, panel_in=_TALL_IN))


def lines_over_time(lines: Sequence[Line], *, spans: Sequence[Span] = ()) -> Figure:
    """Each on a panel of its own, since their units differ; lines without points are left out."""
    shown = [line for line in lines if line.points]
    told = []
    for line in shown:
        values = [value for _, value in line.points]
        told.append(
            f"{line.name}: from {values[0]:.4g} to {values[-1]:.4g} {line.unit}".rstrip()
            + f", {min(values):.4g} to {max(values):.4g} meanwhile"
        )
    text = "Over time. " + "; ".join(told) + "."

    def paint(panels: Sequence[Any]) -> None:
        for number, (panel, line) in enumerate(zip(panels, shown, strict=False)):
            xs, ys = zip(*thinned(line.points), strict=True)
            panel.plot(xs, ys, color=SERIES[number % len(SERIES)], lw=1.2)
            panel.set_title(line.name)
            panel.set_ylabel(line.unit)
            low, high = panel.get_ylim()
            # A line that never moves would be drawn with an axis that shows nothing but rounding.
            if math.isclose(min(ys), max(ys)):
                panel.set_ylim(min(low, 0.0), max(high, ys[0] + 1.0))
        _finish_time(panels, spans)

    return Figure(", ".join(line.name for line in shown), text, draw(max(1, len(shown)), paint, text, panel_in=1.3))


def _finish_time(panels: Sequence[Any], spans: Sequence[Span]) -> None:
    for number, span in enumerate(spans):
        for panel in panels:
            if number % 2:
                panel.axvspan(span.start_s, span.end_s, color=FAINT, alpha=0.15, lw=0)
        panels[0].text(
            (span.start_s + span.end_s) / 2,
            0.98,
            span.name,
            transform=panels[0].get_xaxis_transform(),
            ha="center",
            va="top",
        )
    panels[-1].set_xlabel("seconds")


def _dashes(number: int) -> Any:
    """Lines differ by more than their colour."""
    return ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (5, 1.5, 1, 1.5)))[number % 4]


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1e3:.2f} s"

"""The pictures of an overload run: what became of the requests phase by phase, the probes, and what the server used."""

from collections.abc import Sequence
from itertools import pairwise

from ..pages import Figure, Line, Span, lines_over_time
from ..pages.run_page import figures_of
from .overload_report import OverloadRun
from .watch import Reading

_MB = 1e6


def overload_figures(run: OverloadRun) -> list[Figure]:
    """Latency and outcomes with the phases marked, then lines; none of a run without samples."""
    spans = [Span(phase.name, phase.start_s, phase.end_s) for phase in run.phases]
    figures = figures_of(run.played.samples, limit_ms=run.deadline_ms, spans=spans)
    lines = [*usage_lines(run.readings), Line("/health/ready", "ms", [(p.due_s, p.latency_ms) for p in run.ready])]
    if any(line.points for line in lines):
        figures.append(lines_over_time(lines, spans=spans))
    return figures


def usage_lines(readings: Sequence[Reading]) -> list[Line]:
    """What the server's process used."""
    cores = [
        (now.at_s, (now.cpu_s - then.cpu_s) / (now.at_s - then.at_s))
        for then, now in pairwise(readings)
        if now.at_s > then.at_s
    ]
    return [
        Line("resident memory", "MB", [(each.at_s, each.rss_bytes / _MB) for each in readings]),
        Line("CPU", "cores", cores),
        Line(
            "open files and sockets",
            "",
            [(e.at_s, float(e.descriptors)) for e in readings if e.descriptors is not None],
        ),
        Line("threads", "", [(each.at_s, float(each.threads)) for each in readings if each.threads is not None]),
    ]

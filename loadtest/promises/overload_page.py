"""The pictures of an overload run: what became of the requests phase by phase, the probes, and what the server used."""

from ..pages import Figure, Line, Span, lines_over_time
from ..pages.run_page import figures_of
from ..pages.usage import usage_lines
from .overload_report import OverloadRun


def overload_figures(run: OverloadRun) -> list[Figure]:
    """Latency and outcomes with the phases marked, then lines; none of a run without samples."""
    spans = [Span(phase.name, phase.start_s, phase.end_s) for phase in run.phases]
    figures = figures_of(run.played.samples, limit_ms=run.deadline_ms, spans=spans)
    lines = [*usage_lines(run.readings), Line("/health/ready", "ms", [(p.due_s, p.latency_ms) for p in run.ready])]
    if any(line.points for line in lines):
        figures.append(lines_over_time(lines, spans=spans))
    return figures

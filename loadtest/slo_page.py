"""The page of an `slo` run."""

from .measure import Outcome, Summary
from .pages import Figure, Page, Table, latency_cdf, lines_over_time, run_page
from .pages.usage import usage_lines
from .report import Run, Verdict, as_text


def as_page(run: Run, summary: Summary, verdict: Verdict) -> Page:
    """What the text says, and pictures: latency and outcomes over time, distributions, the server's process."""
    text = as_text(run, summary, verdict).splitlines()
    page = run_page(
        f"{run.host}/score",
        samples=run.samples,
        conditions=[line.strip() for line in text[1:-1]],
        verdict=text[-1].partition(":")[0],
        because=[text[-1].partition(":")[2].strip()],
        tables=[_outcomes(summary)],
        limit_ms=run.options.objective.p99_ms,
    )
    return Page(page.title, page.conditions, page.verdict, page.tables, [*page.figures, *_server(run)], page.because)


def _outcomes(summary: Summary) -> Table:
    shown = ("p50", "p90", "p99", "p999", "max")
    rows = [["outcome", "requests", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "slowest ms"]]
    for outcome, found in summary.by_outcome_ms.items():
        cells = ["" if found is None else f"{getattr(found, name):.2f}" for name in shown]
        rows.append([str(outcome), str(summary.outcomes[outcome]), *cells])
    return Table(rows, "from the scheduled time")


def _server(run: Run) -> list[Figure]:
    accepted = [sample for sample in run.samples if sample.outcome is Outcome.ACCEPTED and sample.server_ms is not None]
    figures = []
    if accepted:
        told = [sample.server_ms for sample in accepted if sample.server_ms is not None]
        figures.append(latency_cdf({"client": [s.latency_ms for s in accepted], "Server-Timing total": told}))
    lines = [line for line in usage_lines(run.readings) if line.points]
    return [*figures, lines_over_time(lines)] if lines else figures

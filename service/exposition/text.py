"""Metrics as text: Prometheus' own format, and OpenMetrics, which has exemplars.

prometheus_client writes both, in several times the time: it looks at every name and label with regular expressions, and
adds a series to each counter that says when it was made.
"""

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from ..metric_text import ESCAPES, as_go, show_labels

HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def as_text(families: Iterable[Metric], *, openmetrics: bool = False) -> bytes:
    """Families of any type that both formats have: counters, gauges and histograms."""
    lines: list[str] = []
    for family in families:
        name = family.name
        if family.type == "counter" and not openmetrics:
            name += "_total"
        help_text = family.documentation.translate(ESCAPES if openmetrics else HELP_ESCAPES)
        lines += (f"# HELP {name} {help_text}", f"# TYPE {name} {family.type}")
        created = f"{family.name}_created"
        for sample in family.samples:
            if sample.name == created:
                continue
            line = f"{sample.name}{show_labels(sample.labels)} {as_go(sample.value)}"
            if openmetrics and sample.exemplar is not None:
                line += _exemplar(sample.exemplar)
            lines.append(line)
    if openmetrics:
        lines.append("# EOF")
    return "\n".join([*lines, ""]).encode()


def _exemplar(exemplar: Exemplar) -> str:
    return f" # {show_labels(exemplar.labels)} {as_go(exemplar.value)} {exemplar.timestamp}"

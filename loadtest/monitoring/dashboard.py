"""The panels of a Grafana dashboard, as far as its queries and its picture go."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LoadtestError
from .prometheus import Series

_FIELD = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL with Grafana's variables in it, and the legend of its series."""

    expression: str
    legend: str

    def filled(self, variables: Mapping[str, str]) -> str:
        """With the variables' values, longest name first."""
        text = self.expression
        for name in sorted(variables, key=len, reverse=True):
            text = text.replace(f"${name}", variables[name])
        return text

    def name_of(self, series: Series) -> str:
        """As the legend has it; without one, its labels."""
        if not self.legend:
            return ", ".join(series.labels.values())
        return _FIELD.sub(lambda found: series.labels.get(found[1], ""), self.legend)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the dashboard."""

    number: int
    title: str
    kind: str
    unit: str
    queries: Sequence[Query]
    limits: Sequence[float]
    stacked: bool


def read_dashboard(path: Path) -> list[tuple[str, list[Panel]]]:
    """Its rows: heading and panels.

    Raises:
        LoadtestError: it is no dashboard.
    """
    try:
        return list(_rows(json.loads(path.read_text(encoding="utf-8"))["panels"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadtestError(f"{path}: expected a dashboard: {type(error).__name__} {error}") from None


def _rows(panels: Sequence[Mapping[str, object]]) -> Iterator[tuple[str, list[Panel]]]:
    heading, row = "", list[Panel]()
    for panel in panels:
        if panel["type"] == "row":
            if row:
                yield heading, row
            heading, row = str(panel["title"]), []
        else:
            row.append(_panel(panel))
    if row:
        yield heading, row


def _panel(panel: Mapping[str, object]) -> Panel:
    contents = json.loads(json.dumps(panel))
    defaults = contents["fieldConfig"]["defaults"]
    return Panel(
        number=contents["id"],
        title=contents["title"],
        kind=contents["type"],
        unit=defaults["unit"],
        queries=[Query(target["expr"], target.get("legendFormat", "")) for target in contents["targets"]],
        limits=[step["value"] for step in defaults["thresholds"]["steps"] if step["value"] is not None],
        stacked="stacking" in defaults["custom"],
    )

"""What a command found: checks against their targets, printed as one table, and the exit code that follows."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Exit
from ..measure import Distribution
from ..pages import Figure, Page, Table
from ..report import write_json


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: what was measured and what must hold, in words. `held` None: reported, not judged."""

    what: str
    measured: str
    target: str = ""
    held: bool | None = None


@dataclass(slots=True)
class Findings:
    """Of one command."""

    command: str
    conditions: list[str]
    checks: list[Check] = field(default_factory=list)
    tables: list[Sequence[Sequence[str]]] = field(default_factory=list)
    """Rows of cells, the heading first."""
    raw: dict[str, Any] = field(default_factory=dict)
    invalid: list[str] = field(default_factory=list)
    """Why the run answers nothing, if it does not."""
    interrupted: bool = False

    def judge(self, what: str, measured: str, target: str, held: bool) -> None:
        """Adds a promise."""
        self.checks.append(Check(what, measured, target, held))

    def note(self, what: str, measured: str) -> None:
        """Adds a figure without a target."""
        self.checks.append(Check(what, measured))

    @property
    def exit(self) -> Exit:
        """An interrupted run is not judged; one that the generator spoiled answers nothing."""
        if self.interrupted:
            return Exit.INTERRUPTED
        if self.invalid:
            return Exit.INVALID
        return Exit.BROKEN if any(check.held is False for check in self.checks) else Exit.HELD

    def as_text(self) -> str:
        """For people."""
        lines = [f"loadtest {self.command}", *(f"  {line}" for line in self.conditions)]
        lines += [table(rows) for rows in (*self.tables, self._checks_table())]
        lines += [f"INVALID: {reason}" for reason in self.invalid]
        lines.append(f"{self.exit.name}")
        return "\n".join(lines)

    def page(self, figures: Sequence[Figure]) -> Page:
        """For people, with pictures."""
        tables = [Table(self._checks_table()), *(Table(rows) for rows in self.tables)]
        return Page(f"loadtest {self.command}", self.conditions, self.exit.name, tables, figures, self.invalid)

    def _checks_table(self) -> list[tuple[str, str, str, str]]:
        rows = [("promise", "measured", "target", "")]
        return rows + [(check.what, check.measured, check.target, _word(check.held)) for check in self.checks]

    def write(self, path: Path | None) -> None:
        """As JSON, raw samples included.

        Raises:
            LoadtestError: it cannot be written.
        """
        if path is None:
            return
        write_json(
            path,
            {
                "tool": f"loadtest {self.command}",
                "conditions": self.conditions,
                "checks": [asdict(check) for check in self.checks],
                "invalid": self.invalid,
                "verdict": {"exit": int(self.exit), "name": self.exit.name.lower()},
                **self.raw,
            },
        )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the first row is the heading, the first column the names."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def spread(values: Distribution | None) -> str:
    """p50, p99 and max of milliseconds."""
    return "none" if values is None else f"{values.p50:.1f} / {values.p99:.1f} / {values.max:.1f}"


def machine_line() -> str:
    """What else the machine does."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"machine: {os.cpu_count()} cores, load average {load}"


def _word(held: bool | None) -> str:
    return {True: "held", False: "BROKEN", None: ""}[held]

"""What a page is made of: plain values, so that a command can build one without knowing how it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture."""

    caption: str
    text: str
    """What it shows, for readers who do not see it."""
    svg: str
    """One `svg` element; its colours are variables of the page's style."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of plain text; the first row is the heading, the first column the names."""

    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Of one run. All of it is text of any kind, escaped where the page is written, but for the pictures."""

    title: str
    conditions: Sequence[str]
    verdict: str
    """One word, such as HELD or BROKEN."""
    tables: Sequence[Table]
    figures: Sequence[Figure]
    because: Sequence[str] = ()
    """Why, one reason a line."""


@dataclass(frozen=True, slots=True)
class Span:
    """A named stretch of the time axis, such as a phase of the load."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """Something read again and again: (seconds after the start, value)."""

    name: str
    unit: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class RatePoint:
    """What one rate gave."""

    series: str
    """Whose: points of one series are joined."""
    rate: float
    """Requests a second."""
    p99_ms: float | None
    """None where nothing was accepted; the point is left out."""
    held: bool | None = None
    """Whether the objective held; None where there is none."""

"""One self-contained HTML page per run, readable without a network: what it ran on, its verdict, tables and pictures.

Matplotlib and jinja2 are imported when a page is made, not before: a command that makes none starts without them.
"""

from .figures import latency_cdf, latency_over_time, lines_over_time, outcomes_over_time, rate_against_p99
from .page import Figure, Line, Page, RatePoint, Span, Table
from .run_page import run_page
from .writing import add_html_option, check_html_option, render, write_page

__all__ = [
    "Figure",
    "Line",
    "Page",
    "RatePoint",
    "Span",
    "Table",
    "add_html_option",
    "check_html_option",
    "latency_cdf",
    "latency_over_time",
    "lines_over_time",
    "outcomes_over_time",
    "rate_against_p99",
    "render",
    "run_page",
    "write_page",
]

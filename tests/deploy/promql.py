"""Which metrics a query names. promtool parses queries; this only reads them."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [path for name in ("metrics", "drift", "audit") if (path := DOCS / f"{name}.md").is_file()]
"""Whose tables name the metrics."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"\{[^}]*\}")
_RANGE = re.compile(r"\[[^\]]*\]")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
_OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def metrics_of(query: str) -> set[str]:
    """Names as they stand there; a histogram's parts too."""
    for pattern in (_STRING, _SELECTOR, _RANGE, _GROUPING):
        query = pattern.sub(" ", query)
    return {name for name in _NAME.findall(query) if name not in _WORDS and name not in ("inf", "nan")}


def family_of(name: str, families: set[str]) -> str:
    """The histogram that a series is a part of, where it is one of these; else its own name."""
    for ending in _OF_HISTOGRAMS:
        if name.removesuffix(ending) in families:
            return name.removesuffix(ending)
    return name

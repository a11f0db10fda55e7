"""The metrics that pages promise, and those that a service shows."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import LoadtestError

PREFIX = "shelfscore_"
_WITHOUT_PREFIX = ("process_", "python_")
_NAME = re.compile(r"`([a-z_][a-z0-9_]*)(?:\{[^`]*\})?`")
_KINDS = ("counter", "gauge", "histogram")
_FAMILY = re.compile(r"^# TYPE (?P<name>\S+) (?P<kind>\S+)$", re.MULTILINE)


def promised(pages: Sequence[Path]) -> dict[str, str]:
    """Types by name, from tables of Markdown pages; "" where a page gives no type.

    A row counts if its first cell has names in code, and these begin with the prefix, or a type follows in the second
    cell; there the prefix may be left out.

    Raises:
        LoadtestError: a page cannot be read, or there are no such rows.
    """
    found: dict[str, str] = {}
    for page in pages:
        try:
            lines = page.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise LoadtestError(f"{page}: cannot be read: {error}") from None
        for line in lines:
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) < 4:
                continue
            kind = cells[2] if cells[2] in _KINDS else ""
            for name in _NAME.findall(cells[1]):
                if kind or name.startswith(PREFIX):
                    whole = name if name.startswith((PREFIX, *_WITHOUT_PREFIX)) else PREFIX + name
                    found[whole] = found.get(whole) or kind
    if not found:
        raise LoadtestError(f"{', '.join(map(str, pages))}: expected rows such as | `{PREFIX}ready` | gauge | ...")
    return found


def shown(metrics: str) -> dict[str, str]:
    """Types by name of the families in a scrape, in the Prometheus text format, that have a sample at least."""
    samples = {re.split(r"[{ ]", line, maxsplit=1)[0] for line in metrics.splitlines() if not line.startswith("#")}
    return {
        found["name"]: found["kind"]
        for found in _FAMILY.finditer(metrics)
        if any(found["name"] + ending in samples for ending in ("", "_bucket"))
    }


def faults_of(contract: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What is not shown, or not as the type that was promised, in words."""
    wrong = [f"{name} is missing" for name in contract if name not in there]
    wrong += [
        f"{name} is a {there[name]}, not a {kind}"
        for name, kind in contract.items()
        if kind and name in there and there[name] != kind
    ]
    return wrong

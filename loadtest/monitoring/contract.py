"""The metrics that pages name, and those that a service shows."""

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
    """Types by name, from Markdown pages; "" where a page gives no type.

    A name counts wherever it stands in code with its prefix; without one, in the first cell of a table's row whose
    second cell is a type.

    Raises:
        LoadtestError: a page cannot be read, or there are no names.
    """
    found: dict[str, str] = {}
    for page in pages:
        try:
            lines = page.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise LoadtestError(f"{page}: cannot be read: {error}") from None
        for line in lines:
            cells = [cell.strip() for cell in line.split("|")]
            if len(cells) > 3 and cells[2] in _KINDS:
                for name in _NAME.findall(cells[1]):
                    found[name if name.startswith((PREFIX, *_WITHOUT_PREFIX)) else PREFIX + name] = cells[2]
            for name in _NAME.findall(line):
                if name.startswith(PREFIX) and name != PREFIX:
                    found.setdefault(name, "")
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

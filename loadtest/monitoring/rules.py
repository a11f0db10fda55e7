"""Rule files whose time runs faster, so that an alert over an hour can be watched in minutes."""

import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import LoadtestError

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RANGE = re.compile(r"\[(\d+)(ms|s|m|h|d)\]")
_WAIT = re.compile(r"^(\s*for: )(\d+)(ms|s|m|h|d)$", re.MULTILINE)


def read_rules(folder: Path) -> dict[str, str]:
    """The texts of a folder's rule files, by name.

    Raises:
        LoadtestError: there are none.
    """
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yml"))}
    if not found:
        raise LoadtestError(f"{folder}: expected rule files, *.yml")
    return found


def hastened(rules: Mapping[str, str], factor: float) -> dict[str, str]:
    """The same rules with every range and every `for` shorter by a factor. Names and thresholds stay."""

    def shorter(count: str, unit: str) -> str:
        return f"{round(int(count) * _UNITS_MS[unit] / factor)}ms"

    return {
        name: _WAIT.sub(
            lambda found: found[1] + shorter(found[2], found[3]),
            _RANGE.sub(lambda found: f"[{shorter(found[1], found[2])}]", text),
        )
        for name, text in rules.items()
    }

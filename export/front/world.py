"""What one comparison of variants found."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from training.experiments.variants import RESULTS_FILE

from ..errors import ExportError

TEACHER = "teacher"
FIRST_CHOICE = "nDCG@10"


@dataclass(frozen=True, slots=True)
class World:
    """One comparison of variants.

    Attributes:
        name: of the data, for people.
        folder: where it stands.
        results: what it found.
    """

    name: str
    folder: Path
    results: dict[str, Any]

    @classmethod
    def read(cls, name: str, folder: Path) -> Self:
        """From the folder of `python -m training.experiments variants`.

        Raises:
            ExportError: it has no results.
        """
        try:
            return cls(name, folder, json.loads((folder / RESULTS_FILE).read_bytes()))
        except (OSError, ValueError) as error:
            raise ExportError(
                f"{folder}: expected {RESULTS_FILE} of `python -m training.experiments variants`: {error}"
            ) from error

    @property
    def figures(self) -> list[dict[str, Any]]:
        """Of each source the figure that models are told apart by: nDCG@10, or without it the first AUC."""
        chosen: dict[str, dict[str, Any]] = {}
        for metric in self.results["metrics"]:
            name, source = metric["name"], metric["data"]
            if name == FIRST_CHOICE or (name.startswith("AUC") and source not in chosen):
                chosen[source] = metric
        return list(chosen.values())

    @property
    def reference(self) -> str:
        """The model that others are compared with."""
        return str(self.results["reference"])

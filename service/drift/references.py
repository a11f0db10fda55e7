"""What a model's traffic is compared with: a baseline of real traffic where one was saved, else the artifact's own."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from artifact import Manifest
from artifact.distribution import Distribution
from artifact.reading import SCORE, SIGNALS

Origin = Literal["saved", "manifest"]


class DriftReferenceError(Exception):
    """A file of references that cannot be used."""


class SavedModel(BaseModel):
    """Distributions of one model's traffic by signal, and the version that it was scored by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    signals: dict[str, Distribution]


class Saved(BaseModel):
    """A file that `python -m service drift-report --save-reference` wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    taken: str
    models: dict[str, SavedModel]

    def write(self, path: Path) -> None:
        """Replaces the file in one step.

        Raises:
            OSError: it cannot be written.
        """
        aside = path.with_name(f".{path.name}.new")
        aside.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        aside.replace(path)


class Reference(NamedTuple):
    """A reference distribution, and where it comes from."""

    distribution: Distribution
    origin: Origin


def read_saved(path: Path) -> Saved:
    """Reads a file of references.

    Raises:
        DriftReferenceError: saying what is wrong with it.
    """
    try:
        return Saved.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DriftReferenceError(f"{path}: cannot read the drift reference: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DriftReferenceError(f"{path}: not a drift reference: at {where or 'the top'}: {first['msg']}") from error


def saved_at(models: dict[str, SavedModel], moment: datetime | None = None) -> Saved:
    """A file's contents, dated."""
    return Saved(taken=(moment or datetime.now(UTC)).isoformat(timespec="seconds"), models=models)


def references_of(manifest: Manifest, saved: SavedModel | None) -> dict[str, Reference]:
    """References of a model by signal; a signal may have none.

    Scores of another version of the model say nothing of this one's, and are left out. Its inputs are the traffic's.
    """
    found: dict[str, Reference] = {}
    if manifest.score_histogram is not None:
        counts = manifest.score_histogram.counts
        edges = tuple(i / len(counts) for i in range(1, len(counts)))
        if any(counts):
            found[SCORE] = Reference(Distribution(edges=edges, counts=counts), "manifest")
    if manifest.input_reference is not None:
        found |= {
            signal: Reference(each, "manifest")
            for signal, each in manifest.input_reference.signals.items()
            if signal in SIGNALS and signal != SCORE
        }
    if saved is not None:
        same = saved.version == manifest.version
        found |= {
            signal: Reference(each, "saved")
            for signal, each in saved.signals.items()
            if signal in SIGNALS and (same or signal != SCORE)
        }
    return found

"""Which models are served, and under which names.

A request's `model` is looked up in a table that the settings filled at the start: no request can name a folder. A name
stays with its place in the table for the life of the process, whatever the manifest of a model that is swapped in says.
"""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from artifact.loading import MANIFEST_FILE, read_manifest

from .errors import ModelNotFoundError
from .model import Model
from .scorer import Scorer
from .settings import Settings

NAMED_FOLDER = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)=(.+)")


class ModelNameError(Exception):
    """The settings name models that cannot be told apart, or one that is not loaded."""


class Source(NamedTuple):
    """A name, and the folder of its model."""

    name: str
    folder: Path


class Target(NamedTuple):
    """Where a folder leads once every symbolic link is followed: the folder itself, and its manifest."""

    folder: Path
    manifest: Path


class LoadedModel:
    """A model in service: its name, its scorer, and how many requests use it. Belongs to the event loop.

    Args:
        name: by which requests choose it, and which answers give.
        model: verified and warmed up.
        scorer: over this model alone.
    """

    def __init__(self, name: str, model: Model, scorer: Scorer) -> None:
        self.name = name
        self.model = model
        self.scorer = scorer
        self.unused = asyncio.Event()
        self.unused.set()
        self._uses = 0

    @property
    def version(self) -> str:
        """Of the artifact."""
        return self.model.manifest.version

    @property
    def info(self) -> tuple[str, str, str, str, str]:
        """Label values of the metric `model_info`."""
        manifest, variant = self.model.manifest, self.model.variant
        return self.name, manifest.version, manifest.architecture, variant.name, variant.precision

    @contextmanager
    def use(self) -> Iterator["LoadedModel"]:
        """Keeps `unused` unset until the block ends."""
        self._uses += 1
        self.unused.clear()
        try:
            yield self
        finally:
            self._uses -= 1
            if not self._uses:
                self.unused.set()


@dataclass(slots=True, eq=False)
class Slot:
    """A name's place in the table. Requests take `current` once, and keep what they took.

    Attributes:
        target: where the folder led when its model was last loaded, or could not be.
        old: the model before, while requests still use it.
    """

    name: str
    folder: Path
    target: Target
    current: LoadedModel
    old: LoadedModel | None = None

    def models(self) -> list[LoadedModel]:
        """Those that requests may be using."""
        return [self.current] if self.old is None else [self.current, self.old]


class Registry:
    """The table. Its first entry is the default.

    Args:
        slots: with distinct names, at least one.
    """

    def __init__(self, slots: list[Slot]) -> None:
        self._slots: Mapping[str, Slot] = {slot.name: slot for slot in slots}
        self._default = slots[0]

    @property
    def default_name(self) -> str:
        """Of the model that answers requests without a name."""
        return self._default.name

    def slots(self) -> list[Slot]:
        """All places, the default first."""
        return list(self._slots.values())

    def find(self, name: str | None) -> LoadedModel:
        """The model of that name, or the default for None.

        Raises:
            ModelNotFoundError: no model has that name.
        """
        slot = self._default if name is None else self._slots.get(name)
        if slot is None:
            raise ModelNotFoundError(f"expected a loaded model, such as {self._default.name!r}; see GET /models")
        return slot.current

    def descriptions(self) -> list[dict[str, Any]]:
        """What GET /models says."""
        return [
            {
                **slot.current.model.description(),
                "name": slot.name,
                "manifest_name": slot.current.model.manifest.name,
                "default": slot is self._default,
            }
            for slot in self.slots()
        ]


def read_sources(settings: Settings) -> list[Source]:
    """Names and folders of all models, the default first. Reads every manifest, and nothing else.

    Raises:
        artifact.ArtifactError, OSError: a manifest cannot be read.
        ModelNameError: two models have one name, or the shadow model is not among them.
    """
    sources: dict[str, Source] = {}
    for given in (str(settings.model_dir), *settings.models):
        named = None if not sources else NAMED_FOLDER.fullmatch(given)
        folder = Path(named[2] if named else given)
        manifest = read_manifest(folder)
        source = Source(named[1] if named else manifest.name, folder)
        if twin := sources.get(source.name):
            raise ModelNameError(
                f"two models are named {source.name!r}, in {twin.folder} and in {folder}: "
                f"give one of `models` another name, as in other={folder}"
            )
        sources[source.name] = source
    others = list(sources)[1:]
    if settings.shadow_model is not None and settings.shadow_model not in others:
        loaded = ", ".join(others) or "which has none"
        raise ModelNameError(f"shadow_model {settings.shadow_model!r}: expected the name of one of `models`, {loaded}")
    return list(sources.values())


def follow(folder: Path) -> Target:
    """Where a folder leads. Does not fail where nothing is."""
    return Target(Path(os.path.realpath(folder)), Path(os.path.realpath(folder / MANIFEST_FILE)))

"""Finds the states file of a model that is being loaded. What is wrong with one is said, and the model goes without."""

import logging
from pathlib import Path

from artifact import Manifest, Variant
from artifact.errors import StatesError
from artifact.product_states import states_version
from artifact.states_file import MISSING, StatesFile, states_path

from .metrics import Metrics

log = logging.getLogger(__name__)


def open_states(folder: Path, manifest: Manifest, variant: Variant, metrics: Metrics) -> StatesFile | None:
    """The states file of a split model in a folder; None where there is none that may be used."""
    assert variant.states is not None
    version = states_version(manifest, variant)
    path = states_path(folder, version)
    fields: dict[str, object] = {"model": manifest.name, "version": manifest.version, "file": str(path)}
    try:
        file = StatesFile.open(path, version, variant.states)
    except StatesError as error:
        if error.reason == MISSING:
            log.warning("no states file: products are encoded as they come", extra={"fields": fields})
            return None
        metrics.refused_states_files.labels(error.reason).inc()
        log.error("a states file was refused: %s", error, extra={"fields": fields})
        return None
    log.info("states file in use", extra={"fields": {**fields, "products": file.products, "bytes": file.file_bytes}})
    return file

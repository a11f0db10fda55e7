"""Computes the states of a catalogue's products into a file for the service. `python -m export states`."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact, PairTokenizer, Product, Variant, load_artifact
from artifact.product_states import ProductState, state_key, states_version
from artifact.states_file import states_path
from artifact.states_format import StatesHeader
from artifact.states_writer import StatesWriter

from .catalogue import CatalogueFile, Columns, open_catalogue
from .compile import Say
from .errors import ExportError
from .product_encoder import ProductEncoder
from .progress import Pace, Progress

WINDOW = 4096
"""Products that are sorted by length at a time."""

BATCH = 8
"""Products in a run of the encoder. Neither number may change between a kill and what goes on after it: a state's last
bits could depend on its batch."""

Batch = tuple[list[bytes], list[NDArray[np.int64]]]
"""Keys and token ids of some products."""


@dataclass(frozen=True, slots=True)
class StatesReport:
    """What was written."""

    path: Path
    states_version: str
    products: int
    repeated: int
    file_bytes: int

    def __str__(self) -> str:
        repeated = f", {self.repeated:,} rows with the text of an earlier one" if self.repeated else ""
        return (
            f"{self.path}: {self.products:,} products{repeated}\n"
            f"states version {self.states_version}, {self.file_bytes / self.products:,.0f} bytes a product, "
            f"{self.file_bytes:,} bytes in all"
        )


def compute_states(
    catalogue: Path,
    artifact: Path,
    folder: Path,
    *,
    variant: str | None = None,
    columns: Columns | None = None,
    say: Say | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StatesReport:
    """Writes `folder`/{states_version}.states, going on where an earlier run was stopped.

    Memory: a few thousand rows and some batches of states, and about 130 bytes for each distinct product; what a
    run before this one computed counts twice at first.

    Args:
        catalogue: CSV, TSV, JSON lines (each also .gz) or parquet.
        artifact: folder of a split model.
        folder: made if it is not there.
        variant: None: cpu-int8 where the artifact has it, else its first for CPU.
        columns: product field -> column; None: columns called as the fields.
        say: takes progress lines; standard error by default.
        clock: seconds, for progress.

    Raises:
        ArtifactError: the artifact does not verify.
        ExportError: it is not split or has no such variant, or the catalogue has no product.
        TrainingError: the catalogue cannot be read; for a broken row, with its line.
        StatesError: another process is writing the file.
        OSError: the disk is full; what was computed stays, to go on from.
    """
    say = say or Progress()
    model = load_artifact(artifact)
    chosen = _choose(model, variant)
    source = open_catalogue(catalogue, [field.name for field in model.manifest.template.fields], columns)
    say(f"{catalogue}: {', '.join(f'{field} from {column}' for field, column in source.columns.items())}")
    if absent := [each.name for each in model.manifest.template.fields if each.name not in source.columns]:
        say(f"without {', '.join(absent)}, which the model reads too: products sent with it will be looked for in vain")
    encoder = ProductEncoder(model, chosen)
    version = states_version(model.manifest, chosen)
    header = StatesHeader(version, encoder.layout, f"{model.manifest.name} {model.manifest.version}, {chosen.name}")
    with StatesWriter(states_path(folder, version), header) as writer:
        if writer.products:
            say(f"going on after {writer.products:,} products; {writer.cut_bytes:,} bytes of a torn end were cut off")
        distinct = _Distinct(model, version, source)
        pace = Pace(clock, say)
        for states in _encoded(_batches(distinct.products(), model.tokenizer, writer.kept), encoder):
            fresh = [(key, state) for key, state in states if key not in writer.kept]
            writer.append(fresh)
            writer.kept.difference_update(key for key, _ in states)
            pace.add(len(fresh), writer.products, source.expected_rows - distinct.repeated - writer.products)
        if not writer.products:
            raise ExportError(f"{catalogue}: expected products, found none")
        if writer.kept:
            say(f"{len(writer.kept):,} products that an earlier run computed are not in this catalogue, and stay")
        say("writing the index")
        return StatesReport(writer.path, version, writer.products, distinct.repeated, writer.finish())


@dataclass
class _Distinct:
    """A catalogue's products, each text once.

    Attributes:
        repeated: rows so far whose text an earlier one had.
    """

    model: Artifact
    version: str
    source: CatalogueFile
    repeated: int = field(default=0, init=False)

    def products(self) -> Iterator[tuple[bytes, Product]]:
        """Keys and products, in file order."""
        seen: set[bytes] = set()
        template = self.model.manifest.template
        for product in self.source.products():
            key = state_key(self.version, template, product)
            if key in seen:
                self.repeated += 1
                continue
            seen.add(key)
            yield key, product


def _batches(products: Iterator[tuple[bytes, Product]], tokenizer: PairTokenizer, kept: set[bytes]) -> Iterator[Batch]:
    """Batches of products of about the same length, but those whose every product is kept: they leave `kept`.

    What is in a batch does not depend on what is kept, so that a state is the same bytes whenever it is computed.
    """
    while window := list(islice(products, WINDOW)):
        keys = [key for key, _ in window]
        if kept.issuperset(keys):
            kept.difference_update(keys)
            continue
        encoded = tokenizer.encode_products([product for _, product in window])
        order = sorted(range(len(window)), key=lambda row: len(encoded[row]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = [keys[row] for row in rows]
            if kept.issuperset(batch):
                kept.difference_update(batch)
            else:
                yield batch, [encoded[row] for row in rows]


def _encoded(batches: Iterator[Batch], encoder: ProductEncoder) -> Iterator[list[tuple[bytes, ProductState]]]:
    """The states of each batch, in the order of the batches, by one thread per core."""
    cores = len(os.sched_getaffinity(0))
    running: deque[tuple[list[bytes], Future[list[ProductState]]]] = deque()
    pool = ThreadPoolExecutor(cores)

    def first() -> list[tuple[bytes, ProductState]]:
        keys, states = running.popleft()
        return list(zip(keys, states.result(), strict=True))

    try:
        for keys, products in batches:
            running.append((keys, pool.submit(encoder.states, products)))
            if len(running) > 2 * cores:
                yield first()
        while running:
            yield first()
    finally:
        pool.shutdown(cancel_futures=True)


def _choose(model: Artifact, name: str | None) -> Variant:
    variants = {each.name: each for each in model.manifest.variants if each.device == "cpu"}
    chosen = name or next((each for each in ("cpu-int8", *variants) if each in variants), "cpu-int8")
    if chosen not in variants:
        present = ", ".join(variants) or "none"
        raise ExportError(f"{model.folder}: expected a variant {chosen} for CPU; it has {present}")
    if variants[chosen].product_encoder is None:
        raise ExportError(f"{model.folder}: a {model.manifest.architecture} model keeps no states of products")
    return variants[chosen]

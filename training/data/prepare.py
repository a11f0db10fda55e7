"""The stage `data`: all sources of a run as canonical parquet in its folder, and streams over it.

A file is written whole or not at all, so that the same command goes on after a kill with the files that are missing;
`done.json` says that all are there and that no query stands in both splits.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from ..errors import TrainingError
from ..parallel import processes
from ..runs import Run, read_json, replacing, write_json
from .formats import Progress
from .leakage import distinct, refuse_leaks, tested_queries
from .schema import BATCH_ROWS, PAIRS, PRODUCTS, QUERIES, JudgedPair, judged_in, present
from .sources import pair_batches, product_batches, query_batches

DONE_FILE = "done.json"


def prepare(run: Run) -> bool:
    """Turns all sources into parquet under `run.folder / "data"`, in bounded memory, showing the time left.

    Memory: some batches of rows, 24 bytes a product that judgements refer to, and 8 bytes a distinct query, three times
    that while they are sorted.

    Returns:
        Whether there was anything to do.

    Raises:
        TrainingError: as `pair_batches`, a query stands in both splits, or the disk is full.
    """
    folder = run.folder / "data"
    if (folder / DONE_FILE).exists():
        return False
    rows: dict[str, int] = {}
    for job in _jobs(run):
        if not job.path.exists():
            with _progress(f"data: {job.path.stem}", [run.data / name for name in job.files]) as shown:
                _write(job.path, job.schema, job.batches(progress=shown))
        with _opened(job.path) as file:
            rows[str(job.path.relative_to(folder))] = int(file.metadata.num_rows)
    sources = run.config.data.judgements
    refuse_leaks([(run.data / source.file, partial(_splits, judgements_path(run, source.name))) for source in sources])
    write_json(folder / DONE_FILE, {"rows": rows})
    return True


@dataclass(frozen=True, slots=True)
class _Job:
    """A file to write, from which files, and how."""

    path: Path
    schema: pa.Schema
    files: tuple[str, ...]
    batches: Callable[..., Iterator[pa.Table]]


def _jobs(run: Run) -> Iterator[_Job]:
    data = run.config.data
    catalogue_files = {catalogue.name: catalogue.files for catalogue in data.catalogues}
    for catalogue in data.catalogues:
        batches = partial(product_batches, run.data, catalogue)
        yield _Job(catalogue_path(run, catalogue.name), PRODUCTS, catalogue.files, batches)
    for source in data.queries:
        yield _Job(queries_path(run, source.name), QUERIES, source.files, partial(query_batches, run.data, source))
    paths = [judgements_path(run, judged.name) for judged in data.judgements]
    tested = None if all(path.exists() for path in paths) else tested_queries(run.data, data)
    for path, judged in zip(paths, data.judgements, strict=True):
        store = run.work("data") / "products"
        pairs = partial(pair_batches, run.data, data, judged, tested=tested, store=store)
        yield _Job(path, PAIRS, judged.files + catalogue_files.get(judged.catalogue or "", ()), pairs)


def _splits(path: Path) -> Iterator[tuple[str, str]]:
    return distinct(_batches(path, PAIRS, ["query", "split"]))


def judged_pairs(run: Run, split: str | None = None) -> Iterator[JudgedPair]:
    """The judged pairs of all sources in order, those of one split if it is given; a batch in memory at a time.

    Raises:
        TrainingError: as `prepare`, or a table is damaged.
    """
    for batch in judged_batches(run, split):
        yield from judged_in(batch)


def judged_batches(run: Run, split: str | None = None) -> Iterator[pa.Table]:
    """As `judged_pairs`, in tables of the schema `PAIRS`; rows without a target are among them."""
    _require_done(run)
    for source in run.config.data.judgements:
        for batch in _batches(judgements_path(run, source.name), PAIRS):
            yield batch if split is None else batch.filter(pc.equal(batch["split"], split))


def catalogue_products(run: Run, name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The (id, product) rows of a catalogue in order; the id is empty where the source has none.

    Raises:
        TrainingError: as `judged_pairs`.
    """
    _require_done(run)
    for batch in _batches(catalogue_path(run, name), PRODUCTS):
        for row in batch.to_pylist():
            yield row["product_id"] or "", present(row)


def queries(run: Run) -> Iterator[str]:
    """The unlabelled queries of all sources in order, repeated ones too.

    Raises:
        TrainingError: as `judged_pairs`.
    """
    _require_done(run)
    for source in run.config.data.queries:
        for batch in _batches(queries_path(run, source.name), QUERIES):
            yield from batch["query"].to_pylist()


def row_counts(run: Run) -> dict[str, int]:
    """File below `data` -> its rows.

    Raises:
        TrainingError: as `prepare`.
    """
    _require_done(run)
    counts: dict[str, int] = read_json(run.folder / "data" / DONE_FILE)["rows"]
    return counts


def judgements_path(run: Run, name: str) -> Path:
    """Where a source's pairs stand, in the schema `PAIRS`."""
    return run.folder / "data" / "judgements" / _file_name([s.name for s in run.config.data.judgements], name)


def catalogue_path(run: Run, name: str) -> Path:
    """Where a catalogue's products stand, in the schema `PRODUCTS`."""
    return run.folder / "data" / "catalogues" / _file_name([s.name for s in run.config.data.catalogues], name)


def queries_path(run: Run, name: str) -> Path:
    """Where a source's unlabelled queries stand, in the schema `QUERIES`."""
    return run.folder / "data" / "queries" / _file_name([s.name for s in run.config.data.queries], name)


def _file_name(names: list[str], name: str) -> str:
    """Numbered, so that names that differ in odd characters alone stay apart."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name)
    return f"{names.index(name):03d}-{plain[:60]}.parquet"


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.Table]) -> None:
    try:
        with replacing(path) as new, new.open("wb") as file:
            writer = pq.ParquetWriter(file, schema, compression="zstd", compression_level=1)
            try:
                for batch in batches:
                    writer.write_table(batch, row_group_size=BATCH_ROWS)
                writer.close()
            except BaseException:
                writer.is_open = False  # or it would write its end when it is collected, to a file that is closed
                raise
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written: {error.strerror or error}; the same command goes on once that is mended"
        ) from error


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _batches(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> Iterator[pa.Table]:
    with _opened(path) as file:
        if file.schema_arrow.remove_metadata() != schema:
            raise _damaged(path, "another schema")
        try:
            for batch in file.iter_batches(BATCH_ROWS, columns=columns):
                yield pa.Table.from_batches([batch])
        except (OSError, pa.ArrowException) as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: object) -> TrainingError:
    return TrainingError(
        f"{path}: missing, cut short or damaged: {error}; delete it and {DONE_FILE} beside its folder, and run the "
        "stage `data` again"
    )


def _require_done(run: Run) -> None:
    """Prepares the tables if they are not there; of several processes none can tell whether the others wait for it."""
    if (run.folder / "data" / DONE_FILE).exists():
        return
    if processes().count > 1:
        raise TrainingError(f"{run.folder}: its data are not prepared; run the stage `data` first")
    prepare(run)


@contextmanager
def _progress(name: str, files: list[Path]) -> Iterator[Progress]:
    sizes = {path: path.stat().st_size for path in files if path.exists()}
    done = dict.fromkeys(sizes, 0)
    with tqdm(
        total=sum(sizes.values()), desc=name, unit="B", unit_scale=True, mininterval=2, dynamic_ncols=True
    ) as bar:

        def shown(path: Path, share: float) -> None:
            read = int(share * sizes.get(path, 0))
            bar.update(read - done.get(path, 0))
            done[path] = read

        yield shown

"""The stage `data`: canonical parquet from every source, complete after a kill, whole or absent, in little memory."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from training.config import read_config
from training.data import (
    PAIRS,
    catalogue_products,
    judged_pairs,
    prepare,
    queries,
    read_all_judgements,
    read_catalogue,
    read_queries,
    row_counts,
)
from training.errors import TrainingError
from training.runs import Run, open_run

SHARED = Path(__file__).parents[3] / "shared" / "data"
DEFAULT = Path(__file__).parents[2] / "training" / "configs" / "default.toml"


@pytest.fixture
def run(data_folder, config_file, tmp_path) -> Run:
    return open_run(tmp_path / "run", read_config(config_file), data_folder)


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_streams_what_the_lists_hold(run):
    data = run.config.data
    assert list(judged_pairs(run)) == read_all_judgements(run.data, data)
    for catalogue in data.catalogues:
        assert list(catalogue_products(run, catalogue.name)) == read_catalogue(run.data, catalogue)
    assert list(queries(run)) == [query for source in data.queries for query in read_queries(run.data, source)]


def test_the_streams_give_what_the_lists_hold(run):
    assert prepare(run)
    assert_streams_what_the_lists_hold(run)
    assert {pair.split for pair in judged_pairs(run, "test")} == {"test"}
    assert not prepare(run), "a finished stage is not run again"


def test_the_pair_table_has_the_canonical_schema(run):
    prepare(run)
    (path,) = (run.folder / "data" / "judgements").iterdir()
    assert pq.read_schema(path).remove_metadata() == PAIRS
    assert row_counts(run)["judgements/000-judged.parquet"] == pq.read_metadata(path).num_rows == 180


def test_an_interrupted_stage_goes_on_with_the_missing_files_and_ends_with_the_same(run):
    prepare(run)
    whole = files_of(run.folder / "data")
    shutil.rmtree(run.folder / "data" / "judgements")
    (run.folder / "data" / "done.json").unlink()
    kept = run.folder / "data" / "catalogues" / "000-products.parquet"
    before = kept.stat().st_mtime_ns
    assert list(judged_pairs(run))  # reading goes on with what is missing
    assert not prepare(run)
    assert files_of(run.folder / "data") == whole
    assert kept.stat().st_mtime_ns == before


def test_what_a_killed_process_left_behind_does_no_harm(run):
    for left in ("data/judgements/000-judged.new", "work/data/products"):
        (run.folder / left).parent.mkdir(parents=True)
        (run.folder / left).write_bytes(b"half a file" * 10_000)
    prepare(run)
    assert_streams_what_the_lists_hold(run)
    assert not list(run.folder.rglob("*.new"))
    assert not (run.folder / "work" / "data" / "products").exists()


@contextmanager
def files_of_at_most(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("size", [100, 1000, 3000, 5000])
def test_a_full_disk_leaves_nothing_half_written_and_the_stage_goes_on_later(run, size, capsys):
    with files_of_at_most(size), pytest.raises(TrainingError, match=r"parquet: cannot be written: .*same command"):
        prepare(run)
    left = [path for path in run.folder.rglob("*") if path.is_file()]
    assert not [path for path in left if path.suffix == ".new" or path.name == "products"]
    for path in left:
        if path.suffix == ".parquet":
            pq.read_table(path)
    assert prepare(run)
    assert_streams_what_the_lists_hold(run)


def test_a_bad_row_leaves_no_file_of_its_source(run):
    path = run.data / "judged.csv"
    path.write_text(path.read_text() + "acme lamp,p1,7,train\n")
    with pytest.raises(TrainingError, match=r"judged\.csv, line 182: grade '7' is not one of"):
        prepare(run)
    assert not list((run.folder / "data" / "judgements").glob("*"))
    assert not (run.folder / "data" / "done.json").exists()


def test_a_prepared_file_cut_in_half_is_refused_by_name(run):
    prepare(run)
    (path,) = (run.folder / "data" / "judgements").iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TrainingError, match=r"000-judged\.parquet: missing, cut short or damaged"):
        list(judged_pairs(run))


def test_a_query_in_both_splits_stops_the_stage(run):
    path = run.data / "judged.csv"
    path.write_text(path.read_text() + "Charger ACME,p1,2,test\n")
    with pytest.raises(TrainingError, match=r"judged\.csv: query 'Charger ACME' stands in train and in test"):
        prepare(run)
    assert not (run.folder / "data" / "done.json").exists()


MEASURE = """
import json, resource, sys
from pathlib import Path
from training.config import read_config
from training.data import judged_pairs, prepare
from training.runs import open_run
run = open_run(Path(sys.argv[1]), read_config(Path(sys.argv[2])), Path(sys.argv[3]))
prepare(run)
rows = sum(1 for _ in judged_pairs(run))
print(json.dumps([rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def test_ten_times_the_rows_take_hardly_more_memory(tmp_path, config_file, data_folder):
    peaks = {}
    for rows in (20_000, 200_000):
        with (data_folder / "judged.csv").open("w") as file:
            file.write("query,sku,grade,split\n")
            file.writelines(
                f"kind {i // 20} of thing,p{i % 72},{i % 2 * 2},{'test' if i % 200 < 20 else 'train'}\n"
                for i in range(rows)
            )
        command = [sys.executable, "-c", MEASURE, str(tmp_path / f"run-{rows}"), str(config_file), str(data_folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        found, peaks[rows] = json.loads(done.stdout.splitlines()[-1])
        assert found == rows
    # 180,000 pairs in a list are 60 MB and more
    assert peaks[200_000] - peaks[20_000] < 30


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_chorus_icecat_and_the_other_real_files_become_canonical(tmp_path):
    run = open_run(tmp_path / "run", read_config(DEFAULT), SHARED)
    prepare(run)
    assert_streams_what_the_lists_hold(run)
    counts = row_counts(run)
    assert counts["judgements/000-chorus.parquet"] == 2765
    assert counts["catalogues/000-icecat.parquet"] == 19406

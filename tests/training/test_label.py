"""Labelling: the pure function from table to table, and shards through kills, cut files and full disks."""

import pickle
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.errors import TrainingError
from training.label import ENGINE_FILE, SCORED_TOGETHER, label_shards, label_table, unlabelled
from training.tables import SCHEMA, Candidate, CandidateList, read_shard, shards, write_shard
from training.teacher import fit_similarity, read_teacher, similarity_of

ROOT = Path(__file__).parents[2]


def lengths(pairs):
    return np.asarray([len(query) + len(product.get("title", "")) for query, product in pairs], np.float32)


def lists(count, start=0):
    return [
        CandidateList(i, f"query {i}", tuple(Candidate({"title": "x" * j}, "test") for j in range(1, 4)))
        for i in range(start, start + count)
    ]


@pytest.fixture
def mined(tmp_path):
    """Three shards of four lists of three candidates."""
    for number in range(3):
        write_shard(tmp_path / "mined" / f"{number:05d}.parquet", lists(4, 4 * number))
    return shards(tmp_path / "mined")


rows = st.lists(
    st.fixed_dictionaries(
        {
            "list": st.integers(0, 9),
            "query": st.text(min_size=1, max_size=5),
            "title": st.none() | st.text(max_size=5),
            "target": st.none() | st.floats(0, 1, width=32),
            "logit": st.none() | st.floats(-9, 9, width=32),
        }
    ),
    max_size=8,
)


@given(rows)
def test_a_table_keeps_its_rows_and_columns_and_gets_logits(found):
    table = pa.Table.from_pylist(found, schema=SCHEMA).replace_schema_metadata({"who": "me"})
    labelled = label_table(table, lengths)
    assert labelled.schema.equals(table.schema, check_metadata=True)
    assert labelled.drop(["logit"]).equals(table.drop(["logit"]))
    assert labelled["logit"].to_pylist() == [len(row["query"]) + len(row["title"] or "") for row in found]
    assert table.to_pylist() == pa.Table.from_pylist(found, schema=SCHEMA).to_pylist()


def test_a_table_of_other_columns_keeps_them_and_gets_logits_at_the_end():
    table = pa.table({"shop": ["a", "b"], "query": ["lamp", "mouse"]})
    labelled = label_table(table, lengths)
    assert labelled.column_names == ["shop", "query", "logit"]
    assert labelled["logit"].to_pylist() == [4, 5]


def test_blocks_of_a_table_get_what_the_whole_table_gets():
    table = pa.table({"query": [f"q{i % 97}" for i in range(2 * SCORED_TOGETHER + 5)]})
    sizes = []

    def noting(pairs):
        sizes.append(len(pairs))
        return lengths(pairs)

    whole = label_table(table, noting)
    assert sizes == [SCORED_TOGETHER, SCORED_TOGETHER, 5]
    blocks = [label_table(table.slice(start, 1000), lengths) for start in range(0, len(table), 1000)]
    assert pa.concat_tables(blocks).combine_chunks().equals(whole.combine_chunks())


@pytest.mark.parametrize(
    ("table", "scorer", "message"),
    [
        (pa.table({"title": ["x"]}), lengths, "expected a column query, found title"),
        (pa.table({"query": ["a", None]}), lengths, "row 1 has no query"),
        (pa.table({"query": ["a", ""]}), lengths, "row 1 has no query"),
        (pa.table({"query": ["a", "b"]}), lambda _: np.array([0.0, np.nan]), "row 1: .* not finite for 'b'"),
        (pa.table({"query": ["a", "b"]}), lambda _: np.zeros(3), r"expected 2 logits .* shape \(3,\)"),
    ],
)
def test_a_table_that_cannot_be_labelled_is_refused_by_its_row(table, scorer, message):
    with pytest.raises(TrainingError, match=message):
        label_table(table, scorer)


def test_a_label_that_is_not_finite_names_its_shard(mined, tmp_path):
    with pytest.raises(TrainingError, match=r"mined/00000.parquet: row 0: .* not finite"):
        label_shards(lambda pairs: np.full(len(pairs), np.nan, np.float32), mined, tmp_path / "out", "test")
    assert not list((tmp_path / "out").glob("*"))


def test_shards_that_are_labelled_already_are_left_alone(mined, tmp_path):
    out = tmp_path / "out"
    label_shards(lengths, mined[1:2], out, "test")
    label_shards(lambda pairs: -lengths(pairs), mined, out, "test")
    signs = [{np.sign(c.logit) for entry in read_shard(path) for c in entry.candidates} for path in shards(out)]
    assert signs == [{-1}, {1}, {-1}]


def test_progress_counts_pairs_of_all_shards_that_are_left(mined, tmp_path, capsys):
    label_shards(lengths, mined[:1], tmp_path / "out", "test")
    capsys.readouterr()
    label_shards(lengths, mined, tmp_path / "out", "test")
    line = capsys.readouterr().err
    assert "label by test" in line
    assert "24/24" in line
    assert "pair/s" in line


def test_a_shard_cut_in_half_is_refused_before_any_is_labelled(mined, tmp_path):
    mined[2].write_bytes(mined[2].read_bytes()[: mined[2].stat().st_size // 2])
    with pytest.raises(TrainingError, match=r"00002.parquet: damaged or cut short.*delete it and run the stage"):
        label_shards(lengths, mined, tmp_path / "out", "test")
    assert not shards(tmp_path / "out")


def test_a_shard_with_damage_inside_is_refused_by_its_name_and_the_others_stay(mined, tmp_path):
    damaged = bytearray(mined[1].read_bytes())
    damaged[4:200] = bytes(196)
    mined[1].write_bytes(damaged)
    with pytest.raises(TrainingError, match=r"^\S*00001.parquet: damaged or cut short"):
        label_shards(lengths, mined, tmp_path / "out", "test")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00000.parquet"]


def test_a_full_disk_leaves_whole_shards_alone(mined, tmp_path):
    out = tmp_path / "out"
    label_shards(lengths, mined[:1], out, "test")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            label_shards(lengths, mined, out, "test")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [path.name for path in out.iterdir()] == ["00000.parquet"]
    label_shards(lengths, mined, out, "test")
    assert len(shards(out)) == 3


STOPPING = """
import importlib, signal, sys
from training.__main__ import main
module = importlib.import_module("training.label")
label_table, labelled = module.label_table, 0
def stopping(table, scorer):
    global labelled
    result = label_table(table, scorer)
    labelled += 1
    if labelled == int(sys.argv[1]):
        print("in the middle", flush=True)
        signal.pause()
    return result
module.label_table = stopping
main(sys.argv[2:])
"""


def test_labelling_goes_on_after_kill_9_and_ends_with_equal_bytes(command, run_of, tmp_path, config_file, data_folder):
    assert command("teacher") == 0
    assert command("mine") == 0
    run = run_of()
    whole = tmp_path / "whole"
    shutil.copytree(run.folder, whole)
    arguments = ["label", "--config", str(config_file), "--data", str(data_folder), "--run"]
    assert command("label", "--run", str(whole)) == 0

    killed_in = len(shards(run.mined)) + 2  # the second shard of the teacher, after all of the similarity
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPING, str(killed_in), *arguments, str(run.folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout.readline() == b"in the middle\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(shards(run.labelled("teacher"))) == 1
    half = run.labelled("teacher") / "00001.new"  # as a kill within the write leaves it
    half.write_bytes(b"PAR1")

    assert command("label") == 0
    assert not half.exists()
    for labels in ("similarity", "teacher"):
        found, expected = run.labelled(labels), whole / "labelled" / labels
        assert {path.name for path in found.iterdir()} == {path.name for path in expected.iterdir()}
        for path in found.iterdir():
            assert path.read_bytes() == (expected / path.name).read_bytes(), path
    for path in shards(run.labelled("teacher")):
        mined, labelled = pq.read_table(run.mined / path.name), pq.read_table(path)
        assert labelled.drop(["logit"]).equals(mined.drop(["logit"]))
        assert labelled["logit"].null_count == 0


def test_labellers_travel_to_other_processes(command, run_of):
    assert command("teacher") == 0
    run = run_of()
    similarity = similarity_of(run)
    pairs = [("acme mouse", {"title": "acme mouse red"}), ("globex lamp", {"title": "acme lamp"})]
    for labeller in (fit_similarity(run, similarity), read_teacher(run, similarity)):
        there = pickle.loads(pickle.dumps(labeller))
        assert there(pairs).tolist() == labeller(pairs).tolist()


def test_labels_by_one_engine_are_not_mixed_with_those_of_another(command, run_of, capsys):
    assert command("teacher") == 0
    assert command("mine") == 0
    folder = run_of().labelled("teacher")
    folder.mkdir(parents=True)
    (folder / ENGINE_FILE).write_text('{"engine": "onnx-int8"}')
    assert command("label") == 2
    assert "labels were begun by onnx-int8; go on with `python -m export label" in capsys.readouterr().err
    shutil.rmtree(folder)
    assert command("label") == 0
    assert '"torch"' in (folder / ENGINE_FILE).read_text()
    assert not any(unlabelled(run_of()).values())

"""Judged pairs in Arrow columns: order, sources, rows without a target, refusals, lists by query, and memory."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from training.config import read_config
from training.data import judged_pairs
from training.data.schema import PAIRS
from training.errors import TrainingError
from training.runs import open_run
from training.student import human
from training.student.human import write_human_lists
from training.tables import read_lists, shards
from training.teacher import Judged


@pytest.fixture
def run(tmp_path, config_file, data_folder):
    return open_run(tmp_path / "run", read_config(config_file), data_folder)


def table_of(*rows):
    empty = dict.fromkeys(PAIRS.names)
    return pa.Table.from_pylist([{**empty, "source": "s", "split": "train", **row} for row in rows], schema=PAIRS)


def test_pairs_are_those_of_the_stream_in_its_order(run):
    expected = list(judged_pairs(run, "train"))
    judged = Judged.read(run)
    texts = [(pair.query, dict(pair.product)) for pair in expected]
    assert [pair for part in judged.parts(7) for pair in part] == texts
    assert judged.queries.to_pylist() == [query for query, _ in texts]
    assert judged.targets.tolist() == [pair.target for pair in expected]
    assert judged.texts([5, 0, 5]) == [texts[5], texts[0], texts[5]]
    assert judged.sources == ["judged"]


def test_rows_without_a_target_and_fields_without_text_are_left_out():
    judged = Judged(
        [
            table_of(
                {"query": "lamp", "title": "Lamp", "brand": "Acme", "target": 0.5}, {"query": "lamp", "title": "x"}
            ),
            table_of({"query": "mouse", "title": "Mouse", "brand": "", "target": 1.0, "source": "t"}),
        ]
    )
    assert judged.texts(range(len(judged))) == [
        ("lamp", {"title": "Lamp", "brand": "Acme"}),
        ("mouse", {"title": "Mouse"}),
    ]
    assert judged.targets.tolist() == [0.5, 1.0]
    assert judged.sources == ["s", "t"]
    assert len(Judged([])) == 0


def test_no_pairs_and_targets_all_alike_are_refused(run):
    path = run.data / "judged.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row.replace(",2,", ",0,") for row in rows)]) + "\n")
    with pytest.raises(TrainingError, match="the 90 judged training pairs all have the target 0: nothing to learn"):
        Judged.read(run)


def test_judgements_without_a_training_pair_are_refused(run):
    path = run.data / "judged.csv"
    path.write_text("\n".join(row for row in path.read_text().splitlines() if not row.endswith("train")) + "\n")
    with pytest.raises(TrainingError, match="no pairs in the split train"):
        Judged.read(run)


def test_human_lists_gather_a_query_s_pairs_in_shards_that_are_all_there_or_none(run, monkeypatch):
    path = run.data / "judged.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::2], *rows[1::2]]) + "\n")  # no query's rows stand together
    expected = {}
    for pair in judged_pairs(run, "train"):
        expected.setdefault(pair.query, []).append((dict(pair.product), pair.target))
    monkeypatch.setattr(human, "LISTS_PER_SHARD", 4)

    written = []

    def until_killed(path, lists):
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt
        write_shard(path, lists)

    write_shard = human.write_shard
    with monkeypatch.context() as patch:
        patch.setattr(human, "write_shard", until_killed)
        with pytest.raises(KeyboardInterrupt):
            write_human_lists(run)
    assert not list(run.folder.rglob("human*"))

    write_human_lists(run)
    assert len(shards(run.labelled("human"))) == 2
    lists = list(read_lists(run.labelled("human")))
    assert [entry.number for entry in lists] == list(range(6))
    found = {entry.query: [(c.product, c.target) for c in entry.candidates] for entry in lists}
    assert list(found.items()) == list(expected.items())


MEASURE = """
import json, resource, sys
import numpy as np
import pyarrow as pa
from training.data.schema import BATCH_ROWS, PAIRS
from training.teacher.dev import split_dev
from training.teacher.judged import Judged

def batches(rows):
    for start in range(0, rows, BATCH_ROWS):
        numbers = range(start, min(rows, start + BATCH_ROWS))
        columns = {name: pa.nulls(len(numbers), kind) for name, kind in zip(PAIRS.names, PAIRS.types)}
        texts = {
            "query": [f"some words of query {i // 10}" for i in numbers],
            "title": [f"a title of eight words or so for product {i}" for i in numbers],
            "source": ["judged"] * len(numbers),
            "target": np.asarray(numbers, np.float32) % 2,
        }
        yield pa.table({**columns, **texts}, schema=PAIRS)

def peak():
    judged = Judged(batches(rows))
    train, dev = split_dev(judged.queries, 0.15, 5000)
    assert len(train) + len(dev) == len(judged) == rows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

peaks = []
for rows in (20_000, 220_000):
    peaks.append(peak())
print(json.dumps(peaks))
"""


def test_a_pair_takes_little_more_memory_than_its_texts():
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    few, many = json.loads(done.stdout.splitlines()[-1])
    # 200,000 pairs of 75 characters: 15 MB of text; as Python objects they are 130 MB and more
    assert many - few < 90

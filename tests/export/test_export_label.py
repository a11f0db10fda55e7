"""Labelling through ONNX Runtime: torch's labels by another engine, chosen once a run, and torch where it must be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from export.__main__ import main
from export.label import FP32, INT8, Agreement, Measured, choose_engine, measure
from training.__main__ import main as train
from training.label import ENGINE_FILE, TORCH, unlabelled
from training.runs import Run, read_run
from training.tables import read_lists, shards
from training.teacher import read_teacher, similarity_of

from .tiny import silent, write_checkpoint

KINDS = ["charger", "lamp", "water bottle", "mouse", "tripod"]
COLOURS = ["black", "red", "white", "green", "blue", "grey"]
CONFIG = """
seed = 3
encoder = ENCODER
[[data.judgements]]
name = "judged"
file = "judged.csv"
licence = "CC0-1.0"
grade = "grade"
targets = { "0" = 0.0, "1" = 1.0 }
columns = { title = "title" }
pool = "shop"
[[data.queries]]
name = "queries"
file = "queries.csv"
licence = "CC0-1.0"
[mining]
lists_per_shard = 6
[mining.pools.shop]
dense = 3
random = 3
[teacher]
model = ENCODER
template = { max_query_tokens = 12, max_tokens = 48, fields = [{ name = "title", max_tokens = 24 }] }
fit = { learning_rate = 3e-3, epochs = 3, batch_pairs = 16 }
[student]
init = ENCODER
layers = [0]
template = { max_query_tokens = 12, max_tokens = 48, fields = [{ name = "title", max_tokens = 24 }] }
stages = [{ labels = "teacher", fit = { learning_rate = 1e-3, epochs = 1, batch_pairs = 24 } }]
"""


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data` and a `run` whose teacher and mining are finished."""
    folder = tmp_path_factory.mktemp("labelling")
    encoder = write_checkpoint(folder / "encoder", bare=True)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_file=str(encoder / "tokenizer.json"), **names).save_pretrained(encoder)
    data = folder / "data"
    data.mkdir()
    products = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS]
    rows = [f"{kind},{product},{int(kind in product)}" for kind in KINDS for product in products]
    (data / "judged.csv").write_text("\n".join(["query,title,grade", *rows]) + "\n")
    queries = [f"{kind} {colour}" for kind in KINDS for colour in COLOURS]
    (data / "queries.csv").write_text("\n".join(["query", *queries]) + "\n")
    config = folder / "config.toml"
    config.write_text(CONFIG.replace("ENCODER", json.dumps(str(encoder))))
    for stage in ("teacher", "mine"):
        where = ["--config", str(config), "--data", str(data), "--run", str(folder / "run")]
        assert train([stage, *where]) == 0
    return folder


@pytest.fixture
def run(mined: Path, tmp_path: Path) -> Run:
    """That run, in a copy of its folder."""
    shutil.copytree(mined / "run", tmp_path / "run")
    return read_run(tmp_path / "run", mined / "data")


def label(run: Run) -> int:
    return main(["label", str(run.folder), "--data", str(run.data)])


def begin_with(run: Run, record: dict[str, object]) -> None:
    run.labelled("teacher").mkdir(parents=True)
    (run.labelled("teacher") / ENGINE_FILE).write_text(json.dumps(record))


def test_every_candidate_gets_the_label_that_torch_gives_it(run: Run) -> None:
    assert label(run) == 0
    assert not any(unlabelled(run).values())
    record = json.loads((run.labelled("teacher") / ENGINE_FILE).read_text())
    assert set(record["pairs_per_s"]) == {TORCH, FP32, INT8}
    assert min(record["pairs_per_s"].values()) > 0
    assert record["agreement_with_fp32"][FP32]["relative_rms"] == 0
    assert record["engine"] in record["pairs_per_s"]
    assert run.facts()["durations_s"]["label"] > 0

    pairs = [(entry.query, c.product) for entry in read_lists(run.mined) for c in entry.candidates]
    labelled = [(entry.query, c.product) for entry in read_lists(run.labelled("teacher")) for c in entry.candidates]
    assert labelled == pairs
    logits = np.array([c.logit for entry in read_lists(run.labelled("teacher")) for c in entry.candidates])
    expected = read_teacher(run, similarity_of(run))(pairs)
    assert expected.std() > 0.1
    assert Agreement.of(logits, expected).suffices


def test_the_fp32_engine_gives_torchs_labels(run: Run) -> None:
    teacher = read_teacher(run, similarity_of(run))
    pairs = [(entry.query, c.product) for entry in read_lists(run.mined) for c in entry.candidates]
    teacher.precision = "fp32"
    expected = teacher(pairs)
    record = forced(run, FP32)
    scorer, found = choose_engine(run, teacher, silent)
    assert found == record
    assert np.abs(scorer(pairs) - expected).max() < 1e-4
    assert np.abs(scorer(pairs[::-1])[::-1] - expected).max() < 1e-4


def forced(run: Run, engine: str) -> dict[str, object]:
    """Begins the run's labels with an engine, whichever is the fastest."""
    chosen: dict[str, object] = {}

    def fastest(self: Measured) -> str:
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Measured, "fastest", fastest)
        _, chosen = choose_engine(run, read_teacher(run, similarity_of(run)), silent)
    begin_with(run, chosen)
    return chosen


@pytest.mark.parametrize("engine", [FP32, INT8])
def test_labels_go_on_with_the_engine_that_began_them_to_equal_bytes(run: Run, engine: str) -> None:
    record = forced(run, engine)
    assert label(run) == 0
    folder = run.labelled("teacher")
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert json.loads(whole[ENGINE_FILE]) == record
    assert len(shards(folder)) > 3
    for path in shards(folder)[1:3]:
        path.unlink()
    assert label(run) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_labels_of_some_lists_are_extended_to_more_by_the_same_engine(run: Run) -> None:
    config = run.config.model_dump(mode="json")
    few = {**config["student"]["stages"][0], "max_lists": 7}
    path = run.folder / "config.json"
    whole = path.read_text()
    path.write_text(json.dumps({**config, "student": {**config["student"], "stages": [few]}}))
    run = read_run(run.folder, run.data)
    forced(run, INT8)
    assert label(run) == 0
    assert len(shards(run.labelled("teacher"))) == 2
    path.write_text(whole)
    assert label(run) == 0
    assert len(shards(run.labelled("teacher"))) == len(shards(run.mined)) > 3


def test_labels_of_a_teacher_that_changed_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    begin_with(run, {"engine": FP32, "sha256": "0" * 64})
    assert label(run) == 1
    error = capsys.readouterr().err
    assert "labels were begun by onnx-fp32, which cannot go on: the teacher or the calibration pairs changed" in error
    assert "delete that folder" in error
    assert not shards(run.labelled("teacher"))


def test_labels_begun_by_torch_go_on_by_torch(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    begin_with(run, {"engine": TORCH})
    assert label(run) == 0
    assert "begun by torch, and go on so" in capsys.readouterr().err
    assert not any(unlabelled(run).values())


def test_a_teacher_that_cannot_be_exported_labels_by_torch(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.teacher / "config.json"
    path.write_text(path.read_text().replace('"hidden_act": "gelu"', '"hidden_act": "silu"'))
    assert label(run) == 0
    assert "labelling by torch, for the teacher cannot be exported" in capsys.readouterr().err
    assert json.loads((run.labelled("teacher") / ENGINE_FILE).read_text())["engine"] == TORCH
    assert not any(unlabelled(run).values())


def test_int8_is_chosen_only_where_its_labels_agree() -> None:
    good, bad = Agreement(0.99, 0.03), Agreement(0.93, 0.03)
    rates = {TORCH: 100.0, FP32: 150.0, INT8: 400.0}
    found = Measured(rates, {TORCH: good, FP32: good, INT8: good})
    assert found.fastest() == INT8
    assert replace(found, agreement={**found.agreement, INT8: bad}).fastest() == FP32
    assert replace(found, pairs_per_s={**rates, TORCH: 500.0}).fastest() == TORCH


def test_agreement_is_kendalls_tau_and_the_relative_rms_difference() -> None:
    labels = np.array([0.0, 1.0, 2.0, 4.0])
    assert Agreement.of(labels, labels) == Agreement(1.0, 0.0)
    assert Agreement.of(-labels, labels).kendall_tau == -1
    swapped = Agreement.of(np.array([1.0, 0.0, 2.0, 4.0]), labels)
    assert swapped.kendall_tau == pytest.approx((5 - 1) / 6)
    assert swapped.relative_rms == pytest.approx(np.sqrt(0.5) / labels.std())
    assert not Agreement.of(labels, np.ones(4)).suffices


def test_measuring_leaves_the_labellers_own_engine_in_place(run: Run) -> None:
    teacher = read_teacher(run, similarity_of(run))
    pairs = [(entry.query, c.product) for entry in read_lists(run.mined) for c in entry.candidates][:30]
    before = teacher(pairs)
    shifted = {TORCH: teacher.cross, FP32: teacher.cross, INT8: lambda some: teacher.cross(some) + np.float32(1e3)}
    found = measure(shifted, teacher, pairs)
    assert found.agreement[TORCH].relative_rms < 0.01
    assert not found.agreement[INT8].suffices
    assert teacher(pairs).tolist() == before.tolist()


def test_a_run_without_a_teacher_says_what_to_run_first(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run.teacher)
    assert label(run) == 1
    assert "run the stage `teacher` first" in capsys.readouterr().err

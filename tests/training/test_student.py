"""The student: every loss trains it, human lists too, dev lists choose its weights, and a kill changes nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from artifact import InputTemplate, TemplateField
from training import parallel
from training.config import Student, StudentStage
from training.config.student import StudentDev
from training.cross_encoder import CrossEncoder
from training.errors import TrainingError
from training.student import fit_student
from training.tables import Candidate, CandidateList, read_lists, write_shard

from .lists import KINDS, write_lists
from .processes import launch_two

ROOT = Path(__file__).parents[2]
TEMPLATE = InputTemplate(fields=(TemplateField(name="title", max_tokens=20),), max_query_tokens=8, max_tokens=32)
FIT = {"learning_rate": 1e-2, "epochs": 6, "batch_pairs": 16, "precision": "fp32", "checkpoint_every_s": 1e-9}


@pytest.fixture
def shard(tmp_path):
    return write_lists(tmp_path / "lists.parquet")


@pytest.fixture
def settings(tiny_encoder):
    def made(dev: StudentDev | None = None, **stage: object) -> Student:
        stages = (StudentStage(**{"labels": "teacher", "fit": FIT, **stage}),)
        return Student(init=str(tiny_encoder), layers=(0, 1), template=TEMPLATE, dev=dev or StudentDev(), stages=stages)

    return made


def logits_of(folder: Path) -> np.ndarray:
    """Of a red and a black product of each kind in turn, for a query that wants red."""
    pairs = [("lamp red", {"title": f"acme {kind} {colour}"}) for kind in KINDS for colour in ("red", "black")]
    return CrossEncoder.read(folder).logits(pairs)


@pytest.mark.parametrize("loss", ["margin", "margin-probability", "pointwise", "ranknet", "listwise"])
def test_every_loss_puts_the_better_products_first(loss, settings, shard, tmp_path):
    fit_student(settings(loss=loss), {"teacher": [shard]}, tmp_path / "work", tmp_path / "out", 0)
    logits = logits_of(tmp_path / "out")
    assert logits[::2].mean() > logits[1::2].mean()


def test_human_targets_train_it_and_keep_single_products(settings, tmp_path):
    lists = [
        CandidateList(
            i, "lamp red", (Candidate({"title": f"acme {kind} red"}, "judges", target=float(kind == "lamp")),)
        )
        for i, kind in enumerate(KINDS * 10)
    ]
    write_shard(tmp_path / "human.parquet", lists)
    human = settings(labels="human", loss="soft-target")
    fit_student(human, {"human": [tmp_path / "human.parquet"]}, tmp_path / "work", tmp_path / "out", 0)
    logits = logits_of(tmp_path / "out")[::2]
    assert logits[0] > logits[1:].max()


def test_products_are_drawn_from_long_lists(settings, shard, tmp_path):
    fit_student(settings(list_size=3), {"teacher": [shard]}, tmp_path / "work", tmp_path / "out", 0)
    records = (tmp_path / "work" / "stage-0-fit" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(records[-1])["step"] == 6 * (40 // 5) - 1  # batches of five lists of three, not of two of eight


def test_dev_lists_choose_the_weights_and_stop_early(settings, shard, tmp_path):
    dev = StudentDev(lists=8, every_epochs=0.25, patience=2)
    rushed = {**FIT, "learning_rate": 0.3, "epochs": 50}  # far too high a rate: the loss soon stops falling
    (chosen,) = fit_student(settings(dev=dev, fit=rushed), {"teacher": [shard]}, tmp_path / "work", tmp_path / "out", 0)
    records = [
        json.loads(line) for line in (tmp_path / "work" / "stage-0-fit" / "metrics.jsonl").read_text().splitlines()
    ]
    losses = [record["dev_loss"] for record in records if "dev_loss" in record]
    assert len(losses) < 100
    assert min(losses) not in losses[-2:]
    assert chosen.dev_loss == min(losses)


def test_stages_can_share_the_lists_between_them(settings, shard, tmp_path):
    whole = settings()
    stage = whole.stages[0]
    parts = whole.model_copy(
        update={
            "stages": (
                stage.model_copy(update={"max_lists": 10}),
                stage.model_copy(update={"skip_lists": 10}),
            )
        }
    )
    fit_student(parts, {"teacher": [shard]}, tmp_path / "work", tmp_path / "out", 0)
    sizes = [np.fromfile(tmp_path / "work" / f"stage-{i}-fit" / "lists" / "lists", np.int64).size for i in (0, 1)]
    assert sizes == [10, 30]


STOPPING = """
import json, signal, sys
from pathlib import Path
import torch
from training import loop
from training.config import Student
from training.student import fit_student
torch.set_num_threads(1)
batch = loop.shuffled_batch
def stopping(step, *more):
    if step == 7:
        print("in the middle", flush=True)
        signal.pause()
    return batch(step, *more)
import training.student.student as student
student.shuffled_batch = stopping
folder = Path(sys.argv[1])
settings = Student.model_validate_json((folder / "settings.json").read_text())
fit_student(settings, {"teacher": [folder / "lists.parquet"]}, folder / "killed", folder / "killed-out", 0)
"""


def test_training_goes_on_after_kill_9_and_ends_with_the_same_weights(settings, shard, tmp_path):
    (tmp_path / "settings.json").write_text(settings().model_dump_json())
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPING, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"in the middle\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert (tmp_path / "killed" / "stage-0-fit" / "checkpoint.pt").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in ("killed", "whole"):
            fit_student(settings(), {"teacher": [shard]}, tmp_path / name, tmp_path / f"{name}-out", 0)
    finally:
        torch.set_num_threads(threads)
    weights = [(tmp_path / f"{name}-out" / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]


IN_TWO = """
import sys
from pathlib import Path
import torch
from training.config import Student
from training.student import fit_student
torch.set_num_threads(1)
folder = Path(sys.argv[1])
settings = Student.model_validate_json((folder / "settings.json").read_text())
fit_student(settings, {"teacher": [folder / "lists.parquet"]}, folder / "two", folder / "two-out", 0)
"""


def test_two_processes_train_the_student_that_one_does(settings, shard, tmp_path):
    # a gentle rate: a rash one makes much of the last bits, in which sums over two processes differ
    made = settings(dev=StudentDev(lists=8, every_epochs=1), fit={**FIT, "learning_rate": 1e-3})
    (tmp_path / "settings.json").write_text(made.model_dump_json())
    (tmp_path / "script.py").write_text(IN_TWO)
    launch_two(tmp_path / "script.py", [str(tmp_path)], "--multi_gpu")
    (one,) = fit_student(made, {"teacher": [shard]}, tmp_path / "one", tmp_path / "one-out", 0)
    two = json.loads((tmp_path / "two" / "stage-0" / "chosen.json").read_text())
    assert two["steps"] == one.steps
    assert two["dev_loss"] == pytest.approx(one.dev_loss, abs=1e-5)
    assert logits_of(tmp_path / "two-out") == pytest.approx(logits_of(tmp_path / "one-out"), abs=1e-4)
    assert logits_of(tmp_path / "one-out").std() > 0.1


def test_sharding_the_student_is_refused_before_anything_is_read(settings, shard, tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "processes", lambda: parallel.Processes(count=2, sharded=True))
    with pytest.raises(TrainingError, match="launch it with --multi_gpu, without FSDP"):
        fit_student(settings(), {"teacher": [shard]}, tmp_path / "work", tmp_path / "out", 0)
    assert not (tmp_path / "work").exists()


def test_a_shard_cut_in_half_is_named(settings, shard, tmp_path):
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(TrainingError, match=r"lists\.parquet"):
        fit_student(settings(), {"teacher": [shard]}, tmp_path / "work", tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


def test_a_run_whose_stage_asks_for_human_labels_writes_them_as_lists(command, run_of, config_file):
    config_file.write_text(
        config_file.read_text().replace('labels = "teacher"', 'loss = "soft-target", labels = "human"')
    )
    assert command("all") == 0
    judged = [candidate for entry in read_lists(run_of().labelled("human")) for candidate in entry.candidates]
    assert len(judged) == 90
    assert {candidate.target for candidate in judged} == {0.0, 1.0}

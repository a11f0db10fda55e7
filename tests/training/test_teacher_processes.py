"""Several processes train the teacher that one would: plain and sharded, on CPUs, started by accelerate."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from training.config import Config, read_config
from training.errors import TrainingError
from training.parallel import Processes, share
from training.runs import open_run
from training.teacher import TEACHER_FILE, Judged, read_teacher, similarity_of, train_teacher

from .processes import launch_two
from .tiny_models import TEMPLATE, write_model

FSDP = Path("training/configs/fsdp.yaml")
SCRIPT = """
import sys
from pathlib import Path
from training.config import Config
from training.parallel import opened, processes
from training.data import prepare
from training.parallel import wait
from training.teacher import train, train_teacher
import torch
torch.set_num_threads(1)
batch = train.shuffled_batch
def until_stopped(step, *more):
    if step == 5:
        raise KeyboardInterrupt
    return batch(step, *more)
with opened(Path(sys.argv[1]), Config.model_validate_json(Path(sys.argv[2]).read_text()), Path(sys.argv[3])) as run:
    if processes().main:
        prepare(run)
    wait()
    train.shuffled_batch = until_stopped
    try:
        train_teacher(run)
    except KeyboardInterrupt:
        train.shuffled_batch = batch
        train_teacher(run)
    (run.folder / f"process-{processes().rank}").write_text(f"{processes().count} {processes().sharded}")
"""


@pytest.fixture
def config_of(config_file, tmp_path):
    """A teacher that drops nothing, for what is dropped differs from process to process; batches of several chunks."""

    def made(family: str, **more: object) -> Config:
        model = write_model(family, tmp_path / family)
        settings = json.loads((model / "config.json").read_text())
        without = {name: 0.0 for name in settings if name.endswith(("dropout_prob", "dropout"))}
        (model / "config.json").write_text(json.dumps({**settings, **without}))
        fit = {"learning_rate": 5e-3, "epochs": 10, "batch_pairs": 70, "precision": "fp32", "checkpoint_every_s": 1e-9}
        teacher = {"model": str(model), "template": TEMPLATE, "fit": fit, **more}
        return Config.model_validate({**read_config(config_file).model_dump(), "teacher": teacher})

    return made


@pytest.fixture
def launch(data_folder, tmp_path):
    """Trains in two processes by `accelerate launch`."""

    def run(config: Config, name: str, *options: str):
        script, settings = tmp_path / "script.py", tmp_path / "config.json"
        script.write_text(SCRIPT)
        settings.write_text(config.model_dump_json())
        launch_two(script, [str(tmp_path / name), str(settings), str(data_folder)], *options)
        return open_run(tmp_path / name, config, data_folder)

    return run


def same_outcome(one, two):
    """Asserts that two runs have one teacher."""
    pairs = Judged.read(one).texts(range(20))
    labels, others = (read_teacher(run, similarity_of(run))(pairs) for run in (one, two))
    assert labels.std() > 0
    assert others == pytest.approx(labels, abs=1e-4)
    record, other = (json.loads((run.teacher / TEACHER_FILE).read_text()) for run in (one, two))
    assert other["steps"] == record["steps"]
    assert other["dev"]["loss"] == pytest.approx(record["dev"]["loss"], abs=1e-5)
    weights, others = (torch.load(next((run.work("teacher") / "fit").glob("best-*.pt"))) for run in (one, two))
    assert set(weights) == set(others)
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, atol=1e-5, rtol=0)


def test_two_processes_stopped_and_resumed_train_the_teacher_that_one_does(launch, config_of, data_folder, tmp_path):
    config = config_of("bert")
    one = open_run(tmp_path / "one", config, data_folder)
    assert train_teacher(one)
    two = launch(config, "two", "--multi_gpu")
    assert [(two.folder / f"process-{rank}").read_text() for rank in (0, 1)] == ["2 False"] * 2
    same_outcome(one, two)


def test_a_decoder_sharded_over_two_processes_becomes_what_it_does_in_one(launch, config_of, data_folder, tmp_path):
    config = config_of("llama", lora={"rank": 4, "dropout": 0}, head="grades", shortcut=False)
    one = open_run(tmp_path / "one", config, data_folder)
    assert train_teacher(one)
    settings = yaml.safe_load(FSDP.read_text())
    settings["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"] = "LlamaDecoderLayer"
    (tmp_path / "fsdp.yaml").write_text(yaml.safe_dump({**settings, "num_processes": 2, "use_cpu": True}))
    two = launch(config, "two", "--config_file", str(tmp_path / "fsdp.yaml"))
    assert [(two.folder / f"process-{rank}").read_text() for rank in (0, 1)] == ["2 True"] * 2
    same_outcome(one, two)


def test_the_shares_of_processes_are_equal_and_make_up_the_batch(monkeypatch):
    batch = np.random.default_rng(0).permutation(12)
    assert share(batch).tolist() == batch.tolist()
    parts = []
    for rank in range(3):
        monkeypatch.setattr("training.parallel.processes", lambda rank=rank: Processes(rank, 3))
        parts.append(share(batch))
    assert np.stack(parts, axis=1).flatten().tolist() == batch.tolist()
    with pytest.raises(TrainingError, match="a batch of 11 cannot be shared by 3 processes: make batch_pairs a mult"):
        share(batch[:11])

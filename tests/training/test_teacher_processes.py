"""Several processes train the teacher that one would: plain and sharded, on CPUs, started by accelerate."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from training.config import Config, read_config
from training.errors import TrainingError
from training.parallel import Processes, share
from training.runs import open_run
from training.teacher import TEACHER_FILE, human_pairs, read_teacher, train_teacher

from .tiny_models import TEMPLATE, write_model

FSDP = Path("training/configs/fsdp.yaml")
SCRIPT = """
import sys
from pathlib import Path
from training.config import Config
from training.parallel import opened, processes
from training.teacher import train, train_teacher
import torch
torch.set_num_threads(1)
batch = train.shuffled_batch
def until_stopped(step, *more):
    if step == 5:
        raise KeyboardInterrupt
    return batch(step, *more)
with opened(Path(sys.argv[1]), Config.model_validate_json(Path(sys.argv[2]).read_text()), Path(sys.argv[3])) as run:
    train.shuffled_batch = until_stopped
    try:
        train_teacher(run)
    except KeyboardInterrupt:
        train.shuffled_batch = batch
        train_teacher(run)
    (run.folder / f"process-{processes().rank}").write_text(f"{processes().count} {processes().sharded}")
"""


@pytest.fixture
def config(config_file, tmp_path):
    """A Llama with LoRA that drops nothing: what is dropped differs from process to process."""
    fit = {"learning_rate": 5e-3, "epochs": 2, "batch_pairs": 14, "precision": "fp32", "checkpoint_every_s": 1e-9}
    model = write_model("llama", tmp_path / "llama")
    lora = {"rank": 4, "dropout": 0}
    teacher = {"model": str(model), "template": TEMPLATE, "fit": fit, "lora": lora}
    teacher |= {"head": "grades", "shortcut": False}
    return Config.model_validate({**read_config(config_file).model_dump(), "teacher": teacher})


@pytest.fixture
def launch(config, data_folder, tmp_path):
    """Trains in two processes by `accelerate launch`."""

    def run(name: str, *options: str):
        script, settings = tmp_path / "script.py", tmp_path / "config.json"
        script.write_text(SCRIPT)
        settings.write_text(config.model_dump_json())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2", "--num_machines", "1"]
        command += ["--main_process_port", str(port), "--mixed_precision", "no", "--dynamo_backend", "no", *options]
        command += [str(script), str(tmp_path / name), str(settings), str(data_folder)]
        paths = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
        return open_run(tmp_path / name, config, data_folder)

    return run


def outcome(run):
    pairs = [(pair.query, pair.product) for pair in human_pairs(run)[:20]]
    record = json.loads((run.teacher / TEACHER_FILE).read_text())
    best = torch.load(next((run.work("teacher") / "fit").glob("best-*.pt")))
    return read_teacher(run, None)(pairs), record, best


@pytest.mark.parametrize("sharded", [False, True], ids=["copies", "fsdp"])
def test_two_processes_stopped_and_resumed_train_the_teacher_that_one_does(
    launch, config, data_folder, tmp_path, sharded
):
    one = open_run(tmp_path / "one", config, data_folder)
    assert train_teacher(one)
    if sharded:
        settings = yaml.safe_load(FSDP.read_text())
        settings["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"] = "LlamaDecoderLayer"
        (tmp_path / "fsdp.yaml").write_text(yaml.safe_dump({**settings, "num_processes": 2, "use_cpu": True}))
        two = launch("two", "--config_file", str(tmp_path / "fsdp.yaml"))
    else:
        two = launch("two", "--multi_gpu")
    assert [(two.folder / f"process-{rank}").read_text() for rank in (0, 1)] == [f"2 {sharded}"] * 2
    labels, record, best = outcome(one)
    others, other_record, other_best = outcome(two)
    assert labels.std() > 0
    assert others == pytest.approx(labels, abs=1e-4)
    assert other_record["steps"] == record["steps"]
    assert other_record["dev"]["loss"] == pytest.approx(record["dev"]["loss"], abs=1e-5)
    assert set(other_best) == set(best)
    for name, tensor in best.items():
        torch.testing.assert_close(other_best[name], tensor, atol=1e-5, rtol=0)


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

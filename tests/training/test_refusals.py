"""A run that cannot go on says why in a sentence; one that was damaged, changed or shared is never mixed up."""

import gzip
import json
import resource
import shutil
import signal

import pytest
from transformers import BertForSequenceClassification

from training.config import read_config
from training.cross_encoder import CrossEncoder
from training.lineage import lineage
from training.runs import open_run
from training.tables import shards


def test_a_run_goes_on_with_its_own_data_alone(command, run_of, data_folder, capsys):
    assert command("mine") == 0
    path = data_folder / "judged.csv"
    path.write_text(path.read_text().replace("acme charger,p0,2", "acme charger,p0,0", 1))
    for stage in ("label", "evaluate"):
        assert command(stage) == 2
        assert "judged.csv is not the file that it was made from" in capsys.readouterr().err


def test_two_processes_do_not_work_in_one_run(command, config_file, data_folder, tmp_path, capsys):
    with open_run(tmp_path / "run", read_config(config_file), data_folder).locked():
        assert command("mine") == 2
    assert "another process is at work in it" in capsys.readouterr().err
    assert command("mine") == 0


def test_a_stage_that_had_nothing_to_do_leaves_commits_and_durations_alone(command, run_of, monkeypatch):
    monkeypatch.setattr("training.runs.commit", lambda: "first")
    assert command("teacher") == command("mine") == 0
    monkeypatch.setattr("training.runs.commit", lambda: "second")
    before = run_of().facts()
    assert command("mine") == 0
    assert run_of().facts() == before
    assert command("label") == command("student") == 0
    assert lineage(run_of()).commit == "data first, teacher first, mine first, label second, student second"


@pytest.mark.parametrize("gone", ["labelled/similarity/00001.parquet", "labelled/teacher/00001.parquet"])
def test_a_student_is_not_trained_on_a_part_of_the_labels(command, run_of, gone, capsys):
    assert command("teacher") == command("mine") == command("label") == 0
    (run_of().folder / gone).unlink()
    assert command("student") == 2
    assert "run the stage `label` first" in capsys.readouterr().err
    assert command("all") == 0


def test_a_mined_shard_that_is_gone_is_made_again(command, run_of, capsys):
    assert command("mine") == 0
    path = shards(run_of().mined)[1]
    before = path.read_bytes()
    path.unlink()
    assert command("label") == 2
    assert "run the stage `mine` first" in capsys.readouterr().err
    assert command("mine") == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("layers = [0, 2]", "layers = [0, 9]", r"has 3 layers, the configuration picks [0, 9]"),
        ("max_tokens = 48", "max_tokens = 300", "has 128 positions, its template allows pairs of 300 tokens"),
    ],
)
def test_a_model_that_a_later_stage_cannot_train_is_refused_before_the_first(
    command, config_file, tmp_path, old, new, message, capsys
):
    head, name, student = config_file.read_text().partition("[student]")
    assert old in student
    config_file.write_text(head + name + student.replace(old, new))
    assert command("all") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_layers_of_a_teacher_that_the_student_cannot_take_are_refused(command, tiny_encoder, config_file, capsys):
    text = config_file.read_text().replace(f'init = "{tiny_encoder}"', 'init = "teacher"')
    config_file.write_text(text.replace("[teacher]", '[teacher]\nhead = "grades"', 1))
    assert command("all") == 2
    assert "name a pretrained encoder instead" in capsys.readouterr().err


def test_another_architecture_than_bert_is_refused(command, tiny_encoder, config_file, tmp_path, capsys):
    other = tmp_path / "roberta"
    shutil.copytree(tiny_encoder, other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "model_type": "roberta"}))
    config_file.write_text(config_file.read_text().replace(f'init = "{tiny_encoder}"', f'init = "{other}"'))
    assert command("all") == 2
    assert "expected a BERT encoder, found roberta" in capsys.readouterr().err


def test_a_checkpoint_with_a_head_of_several_outputs_can_be_started_from(tiny_encoder, config_file, tmp_path):
    folder = tmp_path / "three-outputs"
    shutil.copytree(tiny_encoder, folder)
    BertForSequenceClassification.from_pretrained(tiny_encoder, num_labels=3).save_pretrained(folder)
    template = read_config(config_file).student.template
    model = CrossEncoder.create(str(folder), template, tmp_path / "work")
    assert model.logits([("mouse", {"title": "black mouse"})]).tolist() == [0.0]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("config.json", "mine"),
        ("run.json", "mine"),
        ("teacher/teacher.json", "evaluate"),
        ("teacher/model.safetensors", "evaluate"),
        ("student/template.json", "evaluate"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_in_a_sentence(command, run_of, name, stage, capsys):
    assert command("all") == 0
    path = run_of().folder / name
    path.write_bytes(path.read_bytes()[:10])
    capsys.readouterr()
    assert command(stage) == 2
    assert path.parent.name in capsys.readouterr().err


def test_all_grades_alike_are_refused_before_any_work(command, data_folder, capsys):
    path = data_folder / "judged.csv"
    path.write_text(path.read_text().replace(",0,", ",2,"))
    assert command("all") == 2
    assert "all have the target 1: nothing to learn" in capsys.readouterr().err


def test_an_evaluation_with_nothing_to_measure_says_so(command, data_folder, capsys):
    path = data_folder / "judged.csv"
    path.write_text(path.read_text().replace(",test", ",train"))
    assert command("evaluate") == 2
    assert "nothing to measure in the split test" in capsys.readouterr().err


def test_a_product_without_a_title_is_scored_too(command, data_folder):
    path = data_folder / "products.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.replace("p0,acme charger black,acme,black", "p0,,,").encode()))
    assert command("all") == 0
    assert command("evaluate") == 0


@pytest.mark.parametrize("stage", ["teacher", "mine", "label", "student"])
def test_a_full_disk_stops_a_stage_in_a_sentence_and_it_goes_on_later(command, run_of, stage, capsys):
    stages = ["teacher", "mine", "label", "student"]
    for before in stages[: stages.index(stage)]:
        assert command(before) == 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    room_bytes = 20_000 if stage == "teacher" else 3000  # the first stage writes the configuration as well
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, limits[1]))
    capsys.readouterr()
    try:
        assert command(stage) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    error = capsys.readouterr().err
    assert "error: " in error
    assert "Traceback" not in error
    assert not list(run_of().folder.rglob("*.new"))
    assert command("all") == 0

"""Training a teacher on tiny judgements: dev selection, calibration, both heads, refit, resume, refusals."""

import json
import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from training.config import Config, read_config
from training.data import normalise_query
from training.errors import TrainingError
from training.loop import CHECKPOINT_FILE, METRICS_FILE
from training.runs import open_run
from training.teacher import TEACHER_FILE, Judged, read_teacher, similarity_of, train, train_teacher
from training.teacher.calibration import expected_calibration_error, fit_temperature, fitness
from training.teacher.dev import split_dev
from training.teacher.head import Head

from .tiny_models import TEMPLATE, settings_for, write_model

FIT = {"learning_rate": 5e-3, "epochs": 3, "batch_pairs": 15, "checkpoint_every_s": 1e-9, "precision": "fp32"}


@pytest.fixture
def run_with(config_file, data_folder, tmp_path):
    """Opens a run whose teacher has other settings."""
    config = read_config(config_file)

    def opened(name="run", **more):
        teacher = {**config.teacher.model_dump(), "fit": FIT, **more}
        changed = Config.model_validate({**config.model_dump(), "teacher": teacher})
        return open_run(tmp_path / name, changed, data_folder)

    return opened


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_model("llama", tmp_path_factory.mktemp("llama"))


def record_of(run):
    return json.loads((run.teacher / TEACHER_FILE).read_text())


def labels_of(run, count=12):
    return read_teacher(run, similarity_of(run))(Judged.read(run).texts(range(count)))


def test_the_same_queries_are_dev_in_any_order_and_spelling():
    queries = [f"query {i}" for i in range(100)]
    train_rows, dev = split_dev(queries, 0.15)
    assert len(dev) == 15
    assert sorted([*train_rows, *dev]) == list(range(100))
    shuffled = [queries[i].upper() + "!" for i in np.random.default_rng(0).permutation(100)]
    again = split_dev(shuffled, 0.15)[1]
    assert {normalise_query(shuffled[i]) for i in again} == {normalise_query(queries[i]) for i in dev}


def test_dev_takes_whole_queries_as_far_as_its_pairs_allow():
    queries = [f"query {i}" for i in range(20) for _ in range(10)]
    assert len(split_dev(queries, 0.5)[1]) == 100
    assert len(split_dev(queries, 0.5, max_pairs=35)[1]) == 30
    assert len(split_dev(queries, 0.5, max_pairs=3)[1]) == 10
    train_rows, dev = split_dev(queries, 0.0)
    assert (train_rows.tolist(), dev.tolist()) == (list(range(200)), [])


def test_one_query_cannot_be_split():
    with pytest.raises(TrainingError, match="has one query, 'lamp', and none to spare for dev"):
        split_dev(["lamp", "Lamp!"], 0.15)


@pytest.mark.parametrize("head", [Head(), Head((0.0, 0.5, 1.0))])
@pytest.mark.parametrize("temperature", [0.25, 4.0])
def test_calibration_finds_the_temperature_and_betters_dev(head, temperature):
    torch.manual_seed(0)
    true = torch.randn(4000, head.size) * 2
    targets = torch.bernoulli(torch.sigmoid(head.logit(true)))
    if head.levels is not None:
        targets = torch.tensor(head.levels)[torch.multinomial(torch.softmax(true, 1), 1)[:, 0]]
    outputs = true * temperature
    found = fit_temperature(outputs, targets, head)
    assert found == pytest.approx(temperature, rel=0.1)
    before, after = fitness(outputs, targets, head), fitness(outputs / found, targets, head)
    assert after.nll < before.nll - 0.01
    assert after.relevance_nll < before.relevance_nll
    assert after.ece < before.ece


def test_targets_that_are_all_alike_tell_no_temperature():
    assert fit_temperature(torch.randn(9, 1), torch.ones(9), Head()) == 1.0


def test_calibration_error_is_the_gap_of_each_bin():
    probabilities, targets = np.float32([0.05, 0.05, 0.95, 1.0]), np.float32([0.0, 0.5, 1.0, 1.0])
    assert expected_calibration_error(probabilities, targets) == pytest.approx((0.4 + 0.05) / 4, abs=1e-6)


@pytest.mark.parametrize("head", ["probability", "grades"])
@pytest.mark.parametrize("shortcut", [True, False])
def test_a_teacher_chosen_and_calibrated_on_dev_separates_grades(run_with, head, shortcut, capsys):
    run = run_with(head=head, shortcut=shortcut)
    assert train_teacher(run)
    record = record_of(run)
    records = [json.loads(line) for line in (run.work("teacher") / "fit" / METRICS_FILE).read_text().splitlines()]
    dev = {entry["step"] + 1: entry["dev_loss"] for entry in records if "dev_loss" in entry}
    assert len(dev) > 2
    assert record["dev"]["loss"] == min(dev.values()) == dev[record["steps"]]
    after, before = record["dev"]["after_calibration"], record["dev"]["before_calibration"]
    assert after["nll"] <= before["nll"] == pytest.approx(record["dev"]["loss"], abs=1e-5)
    assert (record["shortcut"] is None) == (not shortcut)
    targets = Judged.read(run).targets
    labels = labels_of(run, len(targets))
    assert np.isfinite(labels).all()
    if shortcut:  # a random encoder alone learns little more than the share of each grade in so few steps
        assert labels[targets == 1].mean() > labels[targets == 0].mean() + 0.5
    assert before["nll"] < dev[min(dev)]
    assert f"temperature {record['temperature']:.3f}" in capsys.readouterr().err
    assert not train_teacher(run)


def test_the_labels_of_a_decoder_with_lora_are_its_dev_outputs_over_the_temperature(run_with, llama, monkeypatch):
    run = run_with(model=str(llama), template=TEMPLATE, lora={"rank": 4}, gradient_checkpointing=True, shortcut=False)
    seen = {}

    def remember(outputs, targets, head):
        seen["outputs"] = outputs
        return fit_temperature(outputs, targets, head)

    monkeypatch.setattr(train, "fit_temperature", remember)
    assert train_teacher(run)
    judged = Judged.read(run)
    dev = split_dev(judged.queries, 0.15)[1]
    labels = read_teacher(run, similarity_of(run))(judged.texts(dev))
    assert labels == pytest.approx(seen["outputs"][:, 0].numpy() / record_of(run)["temperature"], abs=1e-3)
    assert labels.std() > 0


@pytest.mark.parametrize("killed_at", [4, 18])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_teacher_that_was_killed_ends_as_one_that_was_not(run_with, llama, kind, killed_at, monkeypatch):
    more = {} if kind == "bert" else {"model": str(llama), "template": TEMPLATE, "lora": {"rank": 4}}
    more |= {"refit": True, "head": "grades"}
    whole, broken = run_with("whole", **more), run_with("broken", **more)
    assert train_teacher(whole)
    calls = []
    shuffled_batch = train.shuffled_batch

    def until_killed(*arguments):
        calls.append(arguments)
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return shuffled_batch(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(train, "shuffled_batch", until_killed)
        with pytest.raises(KeyboardInterrupt):
            train_teacher(broken)
    with pytest.raises(TrainingError, match="has no finished teacher"):
        read_teacher(broken, None)
    assert train_teacher(broken)
    assert record_of(broken) == record_of(whole)
    assert np.array_equal(labels_of(broken), labels_of(whole))


def test_a_refit_learns_from_dev_too_for_the_chosen_number_of_steps(run_with):
    plain, refitted = run_with("plain"), run_with("refitted", refit=True)
    assert train_teacher(plain)
    assert train_teacher(refitted)
    one, other = record_of(plain), record_of(refitted)
    assert one["steps"] == other["steps"]
    assert one["temperature"] == other["temperature"]
    assert not np.allclose(labels_of(plain), labels_of(refitted))


def test_without_dev_the_last_weights_are_kept_uncalibrated(run_with):
    run = run_with(dev={"share": 0})
    assert train_teacher(run)
    record = record_of(run)
    assert (record["dev"], record["temperature"], record["steps"]) == (None, 1.0, 18)


def test_a_loss_that_explodes_stops_in_a_sentence(run_with):
    with pytest.raises(TrainingError, match=r"not finite; lower the learning rate"):
        train_teacher(run_with(fit={**FIT, "learning_rate": 1e30}))


@pytest.mark.parametrize("name", ["teacher.json", "classifier.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_of_a_finished_teacher_is_named(run_with, name):
    run = run_with(head="grades")
    assert train_teacher(run)
    path = run.teacher / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(TrainingError, match="teacher"):
        read_teacher(run, None)


def test_a_damaged_checkpoint_is_named(run_with):
    run = run_with()
    assert train_teacher(run)
    (run.teacher / TEACHER_FILE).unlink()
    best = next((run.work("teacher") / "fit").glob("best-*.pt"))
    for path in (best, run.work("teacher") / "fit" / CHECKPOINT_FILE):
        path.write_bytes(path.read_bytes()[:20])
        with pytest.raises(TrainingError, match=f"{path.name}: damaged"):
            train_teacher(run)


def test_a_checkpoint_of_another_model_is_refused(run_with, llama):
    bert, decoder = run_with("bert"), run_with("llama", model=str(llama), template=TEMPLATE)
    assert train_teacher(bert)
    shutil.copytree(bert.work("teacher"), decoder.work("teacher"))
    with pytest.raises(TrainingError, match=f"{CHECKPOINT_FILE}: damaged; delete it"):
        train_teacher(decoder)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"levels": [0.0, 0.5]}, "rise from 0 to 1"),
        ({"levels": [0.0, 0.7, 0.7, 1.0]}, "rise from 0 to 1"),
        ({"prompt": "{product} for {query}"}, "at the end"),
        ({"refit": True, "dev": {"share": 0}}, "refit needs dev.share"),
    ],
)
def test_settings_that_do_not_hold_are_refused(tmp_path, more, message):
    with pytest.raises(ValidationError, match=message):
        settings_for(tmp_path, **more)


def test_the_summary_for_the_lineage_names_what_the_teacher_is(tmp_path):
    plain = settings_for(tmp_path)
    assert plain.summary == f"{tmp_path} plus cosine and MaxSim, fine-tuned on soft targets with a head of one logit"
    other = settings_for(tmp_path, lora={"rank": 4}, shortcut=False, head="grades")
    assert other.summary == f"{tmp_path} with LoRA of rank 4, fine-tuned on soft targets with a head of 3 grades"

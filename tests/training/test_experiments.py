"""The reproduction on a tiny made-up catalogue, end to end, and its pieces."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.config import Optimisation
from training.cross_encoder import read_template
from training.data import JudgedPair
from training.errors import TrainingError
from training.experiments import material as material_module
from training.experiments import reproduce as reproduce_module
from training.experiments import worlds as worlds_module
from training.experiments.material import Material
from training.experiments.measure import agreement, measure_models
from training.experiments.plan import Plan, plan_students
from training.experiments.recipes import Recipe, Trials
from training.experiments.reproduce import Reproduction, reproduce
from training.experiments.steps import Steps
from training.experiments.world import WorldSettings
from training.loop import Chosen


def silent(line: str) -> None:
    """Takes a line of progress."""


FIT = Optimisation(learning_rate=1e-3, epochs=1, batch_pairs=32)
PLAN = Plan(
    sizes=(60, 120, 240),
    pointwise_size=120,
    visits=120,
    least_epochs=1,
    most_epochs=2,
    human_epochs=(1,),
    rates={"margin": (1e-3, 1e-5), "pointwise": (1e-4,), "human": (1e-3,)},
    trial_pairs=60,
    dev_lists=2,
)
SETTINGS = WorldSettings(train_queries=8, train_candidates=6, test_queries=8, test_candidates=6, unlabelled_queries=70)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "catalogue"
    folder.mkdir()
    rows = []
    for brand in ("acme", "globex", "initech", "umbrella"):
        for colour in ("Black", "White", "Red"):
            rows += [
                (f"{brand} mouse {colour}", brand, colour, {"connectivity_technology": "Wireless"}),
                (f"{brand} keyboard {colour}", brand, colour, {"keyboard_layout": "QWERTY"}),
                (f"{brand} headset {colour}", brand, colour, {"connectivity_technology": "Wired"}),
                (f"{brand} wireless mouse", brand, colour, {"connectivity_technology": "Wireless"}),
            ]
    with (folder / "products.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product_id", "title", "brand", "colour", "short_description", "attributes"])
        for i, (title, brand, colour, attributes) in enumerate(rows):
            writer.writerow([i, f"{title} {i}", brand, colour, "", json.dumps(attributes)])
    return folder


@pytest.fixture
def what(data, tmp_path, tiny_encoder, monkeypatch) -> Reproduction:
    monkeypatch.setattr(worlds_module, "CATALOGUE", "products.csv")
    monkeypatch.setattr(reproduce_module, "world_settings", lambda _: SETTINGS)
    text = worlds_module.WORLD_CONFIG.read_text()
    text = text.replace('"all-MiniLM-L6-v2"', json.dumps(str(tiny_encoder))).replace("[0, 2, 4]", "[0, 2]")
    text = text.replace("epochs = 4", "epochs = 1").replace("lists_per_shard = 500", "lists_per_shard = 8")
    head, _, student = text.partition("[student.template]")
    student = student.replace("fields = [", 'fields = [{ name = "description", max_tokens = 8 },')
    text = f"{head}[student.template]{student}"
    config = tmp_path / "world.toml"
    config.write_text(text)
    return Reproduction(tmp_path / "out", data, ("controlled",), plan=PLAN, configs={"controlled": config})


def test_a_killed_reproduction_goes_on_and_the_second_time_does_nothing(what, monkeypatch):
    lines: list[str] = []
    trained: list[str] = []
    fit_student = material_module.fit_student

    def until_killed(settings, sources, work, out, *more):
        if work.name.startswith("trial-"):
            return fit_student(settings, sources, work, out, *more)
        if len(trained) == 2:
            trained.append("killed")
            raise KeyboardInterrupt
        trained.append(out.name)
        return fit_student(settings, sources, work, out, *more)

    monkeypatch.setattr(material_module, "fit_student", until_killed)
    with pytest.raises(KeyboardInterrupt):
        reproduce(what, lines.append)
    assert not (what.out / "results.json").exists()
    results = json.loads(reproduce(what, lines.append).read_text())
    order = ["human", "margin-60", "margin-120", "pointwise-120", "margin-240"]
    assert trained == [*order[:2], "killed", *order[2:]]

    world = results["worlds"]["controlled"]
    assert [student["name"] for student in world["students"]] == order
    sizes = {student["name"]: student["pairs"] for student in world["students"]}
    assert 60 <= sizes["margin-60"] < 80
    assert 240 <= sizes["margin-240"] < 260
    ndcg = next(metric for metric in world["metrics"] if metric["name"] == "nDCG@10")
    assert set(ndcg["models"]) == {"random", "word overlap", "cosine", "teacher", *order}
    assert set(ndcg["models"]["margin-60"]["against"]) == {"teacher", "human", "cosine"}
    assert set(ndcg["models"]["margin-240"]["against"]) == {"teacher", "human", "cosine", "margin-120"}
    assert set(world["agreement"]["world"]) == {"random", "word overlap", "cosine", *order}
    assert set(world["steps"]) == {"world", "teacher", "mine", "label"}
    margins = [trial for trial in world["trials"] if trial["kind"] == "margin"]
    assert [trial["learning_rate"] for trial in margins] == [1e-3, 1e-5]
    best = min(margins, key=lambda trial: trial["dev_loss"])["learning_rate"]
    assert {row["learning_rate"] for row in world["students"] if row["loss"] == "margin"} == {best}
    assert not list((what.out / "controlled" / "work").glob("trial-*"))
    for name in order:
        fields = read_template(what.out / "controlled" / "students" / name / "template.json").fields
        assert "description" not in [field.name for field in fields]

    before = (what.out / "results.json").read_bytes()
    lines.clear()
    assert reproduce(what, lines.append).read_bytes() == before
    assert len(trained) == 6
    assert not any("..." in line for line in lines)

    longer = replace(what, plan=replace(PLAN, least_epochs=2))
    with pytest.raises(TrainingError, match=r"margin-60\.json: margin-60 was trained with epochs 1.88, and 2"):
        reproduce(longer, silent)


def test_the_recipe_of_a_loss_is_the_one_that_fits_held_out_lists_best(what, monkeypatch, tmp_path):
    tried = []

    def fit(settings, sources, work, *_):
        (stage,) = settings.stages
        tried.append((stage.fit.learning_rate, stage.fit.epochs, stage.max_lists, settings.dev.lists))
        work.mkdir(parents=True)
        return (Chosen(10, abs(stage.fit.learning_rate - 1.6e-4) - stage.fit.epochs * 1e-5),)

    monkeypatch.setattr(material_module, "fit_student", fit)
    plan = replace(Plan(), trial_pairs=12, dev_lists=3)
    students = plan_students(plan, [4] * 40, human_pairs=7, fit=FIT)
    material = Material(what.config("controlled").student, {}, 0)
    trials = Trials(material, [4] * 40, plan, tmp_path / "work")
    steps = Steps(tmp_path / "steps", silent)
    assert trials.choose(students, steps) == {
        "human": Recipe(1e-4, 10),
        "margin": Recipe(2e-4),
        "pointwise": Recipe(2e-4),
    }
    assert tried[-1] == (2e-4, 1.0, 3 + 3, 3)
    assert len(tried) == 6 + 2 + 2
    trials.choose(students, steps)
    assert len(tried) == 10


def test_labels_may_come_from_a_command_whose_failure_is_told(what):
    broken = replace(what, label_command="python -c 'raise(SystemExit(3))'")
    with pytest.raises(TrainingError, match="ended with exit code 3"):
        reproduce(broken, silent)
    lazy = replace(what, label_command="python -c pass")
    with pytest.raises(TrainingError, match="without labels"):
        reproduce(lazy, silent)


def test_each_set_of_labels_holds_the_one_before_and_small_sets_take_more_epochs():
    plan = Plan(sizes=(10, 30, 90), pointwise_size=30, visits=60, least_epochs=1, most_epochs=4, human_epochs=(3,))
    students = plan_students(plan, [4] * 40, human_pairs=7, fit=FIT)
    margins = [s for s in students if s.stage.loss == "margin"]
    assert [(s.pairs, s.stage.max_lists, s.stage.fit.epochs) for s in margins] == [
        (12, 3, 4),
        (32, 8, 1.88),
        (92, 23, 1),
    ]
    assert students[0].stage.labels == "human"
    assert students[0].stage.fit.epochs == 3
    assert [s.pairs for s in students if s.stage.loss == "pointwise"] == [32]
    assert [s.name for s in plan_students(plan, [4] * 9, 7, FIT)] == ["human", "margin-10", "margin-30", "pointwise-30"]


def test_a_step_is_done_once_and_counts_the_time_of_stopped_tries(tmp_path):
    times = iter((0.0, 10.0, 20.0, 25.0))
    steps = Steps(tmp_path, silent, clock=lambda: next(times))

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steps.once("label", killed)
    assert steps.once("label", lambda: {"pairs": 3})["seconds"] == 15
    assert steps.once("label", killed)["pairs"] == 3


def test_differences_are_paired_so_that_a_constant_gain_has_a_narrow_interval(what):
    random = np.random.default_rng(0)
    pairs = [JudgedPair(f"q{i // 10}", {}, str(i % 4), 0.0, "world", "test") for i in range(400)]
    noisy = random.random(400)
    scores = {"teacher": noisy, "same": noisy * 2, "perfect": np.asarray([float(pair.grade) for pair in pairs])}
    references = {"same": ["teacher"], "perfect": ["teacher"]}
    measured = measure_models(pairs, what.config("controlled").data, scores, references)
    rows = next(entry for entry in measured if entry["name"] == "nDCG@10")
    assert rows["size"] == 40
    assert rows["models"]["perfect"]["value"] == pytest.approx(1)
    same = rows["models"]["same"]["against"]["teacher"]
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    assert rows["models"]["perfect"]["against"]["teacher"]["low"] > 0
    assert rows["models"]["teacher"]["against"] == {}
    auc = next(entry for entry in measured if entry["name"].startswith("AUC"))
    assert auc["models"]["perfect"]["value"] == 1


def test_agreement_is_the_mean_tau_of_the_queries_whose_products_both_models_tell_apart():
    pairs = [JudgedPair(query, {}, "0", 0.0, "world", "test") for query in ("a", "a", "a", "b", "b", "alone", "c", "c")]
    scores = {
        "teacher": np.asarray([1.0, 2, 3, 1, 2, 5, 1, 2]),
        "student": np.asarray([1.0, 3, 2, 1, 2, 9, 4, 4]),
        "flat": np.zeros(8),
    }
    assert agreement(pairs, scores, "teacher") == {"world": {"student": pytest.approx((1 / 3 + 1) / 2, abs=1e-4)}}

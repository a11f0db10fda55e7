"""The scaled-down paper: in each world a teacher of few labels, then students of human labels and of more and more
teacher's labels, all measured on the same test queries. Resumable: what is finished is not done again."""

import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from artifact import InputTemplate, TemplateField

from ..config import Config, StudentStage, read_config
from ..cross_encoder import TEMPLATE_FILE
from ..data import JudgedPair, read_all_judgements
from ..errors import TrainingError
from ..evaluation import Scorer, word_overlap
from ..runs import Run, commit, replacing, write_json
from ..student import read_student
from ..teacher import SentenceEncoder, Similarity, read_teacher, similarity_of
from .material import Material
from .measure import agreement, measure_models
from .plan import HUMAN, Plan, StudentPlan, plan_students
from .recipes import Trials
from .steps import Say, Steps
from .worlds import HUMAN_CONFIG, WORLD_CONFIG, controlled_run, human_run, prepare, world_settings

RESULTS_FILE = "results.json"
RANDOM, OVERLAP, COSINE, TEACHER = "random", "word overlap", "cosine", "teacher"
TITLE_ONLY = InputTemplate(fields=(TemplateField(name="title", max_tokens=80),), max_query_tokens=32, max_tokens=128)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What to reproduce.

    Attributes:
        out: folder of everything that is made.
        data: folder of the data files.
        worlds: controlled, human, or both.
        scale: share of the pairs and queries.
        plan: sizes and epochs at scale 1.
        human_run: a finished run whose teacher and labelled lists stand for the human world's.
        label_command: see `worlds.prepare`.
        configs: of each world.
        students: train these alone, and measure nothing: so that processes can share the work. None: all of them.
    """

    out: Path
    data: Path
    worlds: tuple[str, ...] = ("controlled", "human")
    scale: float = 1.0
    plan: Plan = field(default_factory=Plan)
    human_run: Path | None = None
    label_command: str | None = None
    configs: Mapping[str, Path] | None = None
    students: tuple[str, ...] = ()

    def config(self, world: str) -> Config:
        """The configuration of a world."""
        standard = {"controlled": WORLD_CONFIG, "human": HUMAN_CONFIG}
        return read_config((self.configs or standard)[world])


def reproduce(what: Reproduction, say: Say) -> Path:
    """Runs or goes on with a reproduction.

    Returns:
        The file of its results, written anew after every world.

    Raises:
        TrainingError: as the stages raise.
    """
    results: dict[str, Any] = {"scale": what.scale, "machine": machine(), "commit": commit(), "worlds": {}}
    path = what.out / RESULTS_FILE
    for world in what.worlds:
        results["worlds"][world] = _world(what, world, partial(_say_of, say, world))
        if not what.students:
            write_json(path, results)
    return path


def machine() -> dict[str, Any]:
    """The machine, in words and numbers."""
    model = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        names = [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "gpu": gpu, **versions}


def _world(what: Reproduction, world: str, say: Say) -> dict[str, Any]:
    folder = what.out / world
    steps = Steps(folder / "steps", say)
    config, plan = what.config(world), what.plan.scaled(what.scale)
    existing = what.human_run if world == "human" else None
    if world == "controlled":
        run = controlled_run(folder, what.data, config, plan, world_settings(what.scale), steps)
    else:
        run = human_run(folder, what.data, config, plan, existing)
    sizes = prepare(run, steps, what.label_command, finished=existing is not None)
    judged = read_all_judgements(run.data, run.config.data)
    human_pairs = sum(pair.split == "train" for pair in judged)
    students = plan_students(plan, sizes, human_pairs, run.config.student.stages[-1].fit)
    students = _named(students, what.students) if what.students else students
    material = Material.of(run)
    trials = Trials(material, sizes, plan, folder / "work")
    recipes = trials.choose(students, steps)
    students = [replace(student, stage=recipes[student.kind].of(student.stage)) for student in students]
    rows = _train(material, students, folder, steps, say)
    if what.students:
        return {}
    test = [pair for pair in judged if pair.split == "test"]
    scores = _score(run, students, folder, test, steps)
    return {
        "data": _data_facts(run, judged, sizes),
        "steps": _step_facts(steps, run, existing is not None),
        "trials": trials.results(students, steps),
        "students": rows,
        "metrics": measure_models(test, run.config.data, scores, _references(scores, students)),
        "agreement": agreement(test, scores, TEACHER),
    }


def _references(models: Iterable[str], students: list[StudentPlan]) -> dict[str, list[str]]:
    """What each model is compared with: teacher, human labels, cosine; each size also with the one below."""
    references = {model: [other for other in (TEACHER, HUMAN, COSINE) if other != model] for model in models}
    for below, above in pairwise(student.name for student in students if student.kind == "margin"):
        references[above].append(below)
    return references


def _named(students: list[StudentPlan], names: tuple[str, ...]) -> list[StudentPlan]:
    present = [student.name for student in students]
    unknown = sorted(set(names) - set(present))
    if unknown:
        raise TrainingError(f"there is no student {', '.join(unknown)}: there are {', '.join(present)}")
    return [student for student in students if student.name in names]


def _train(
    material: Material, students: list[StudentPlan], folder: Path, steps: Steps, say: Say
) -> list[dict[str, Any]]:
    """Trains the students that are not, telling the time that is left by the pairs per second so far."""
    rows: list[dict[str, Any]] = []
    left = sum(student.visits for student in students)
    for student in students:
        fit = student.stage.fit
        speeds = [row["pairs_per_s"] for row in rows]
        eta = f"; the {left:,} that are left take about {left / speeds[-1] / 60:.0f} min" if speeds else ""
        say(f"{student.name}: {student.pairs:,} pairs, {fit.epochs:g} epochs = {student.visits:,} visits{eta}")
        work, out = folder / "work" / student.name, folder / "students" / student.name
        settings = {"lists": student.stage.max_lists, "epochs": fit.epochs, "learning_rate": fit.learning_rate}
        found = steps.once(student.name, partial(_fit, material, student.stage, work, out, settings))
        _same_settings(student.name, settings, found, steps.folder / f"{student.name}.json")
        left -= student.visits
        rows.append(
            {
                "name": student.name,
                "labels": student.stage.labels,
                "loss": student.stage.loss,
                "pairs": student.pairs,
                "lists": student.stage.max_lists,
                "epochs": fit.epochs,
                "batch_pairs": fit.batch_pairs,
                "learning_rate": fit.learning_rate,
                "visits": student.visits,
                "seconds": found["seconds"],
                "pairs_per_s": round(student.visits / max(found["seconds"], 1e-3), 1),
            }
        )
    return rows


def _fit(material: Material, stage: StudentStage, work: Path, out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    material.fit(stage, work, out)
    return settings


def _same_settings(name: str, asked: dict[str, Any], found: dict[str, Any], path: Path) -> None:
    """A finished student must not be reported with settings that it was not trained with."""
    for key, value in asked.items():
        if found.get(key, value) != value:
            raise TrainingError(
                f"{path}: {name} was trained with {key} {found[key]}, and {value} is asked: choose another --out, or "
                f"delete this file, score-{path.name} beside it and the student's folders"
            )


def _score(
    run: Run, students: list[StudentPlan], folder: Path, test: list[JudgedPair], steps: Steps
) -> dict[str, NDArray[np.float64]]:
    """Every model's scores of the test pairs, kept in files."""
    pairs = [(pair.query, pair.product) for pair in test]
    makers: dict[str, Callable[[], Scorer]] = {
        RANDOM: lambda: lambda some: np.random.default_rng(0).random(len(some)),
        OVERLAP: lambda: word_overlap,
        COSINE: partial(_cosine, run.config.encoder),
        TEACHER: lambda: read_teacher(run, similarity_of(run)),
    }
    for student in students:
        makers[student.name] = partial(_student, folder / "students" / student.name)
    scores = {}
    for name, maker in makers.items():
        path = folder / "scores" / f"{name.replace(' ', '-')}.npy"

        def work(maker: Callable[[], Scorer] = maker, path: Path = path) -> dict[str, Any]:
            values = np.asarray(maker()(pairs), np.float64)
            with replacing(path) as new, new.open("wb") as file:
                np.save(file, values)
            return {"pairs": len(values)}

        steps.once(f"score-{path.stem}", work)
        scores[name] = np.load(path)
    return scores


def _cosine(encoder: str) -> Scorer:
    similarity = Similarity(SentenceEncoder(encoder, "fp32"), TITLE_ONLY)
    return lambda pairs: similarity.features(pairs)[:, 0]


def _student(folder: Path) -> Scorer:
    if not (folder / TEMPLATE_FILE).exists():
        raise AssertionError(f"{folder}: a finished student without a checkpoint")
    return read_student(folder).logits


def _data_facts(run: Run, judged: list[JudgedPair], sizes: list[int]) -> dict[str, Any]:
    train, test = ([pair for pair in judged if pair.split == split] for split in ("train", "test"))
    return {
        "train_pairs": len(train),
        "train_queries": len({pair.query for pair in train}),
        "test_pairs": len(test),
        "test_queries": len({pair.query for pair in test}),
        "labelled_lists": len(sizes),
        "labelled_pairs": sum(sizes),
        "files": run.facts()["files"],
        "seed": run.config.seed,
    }


def _step_facts(steps: Steps, run: Run, existing: bool) -> dict[str, Any]:
    """Seconds of each step; those of another's run as that run noted them."""
    found = {}
    for name in ("world", "teacher", "mine", "label"):
        if (steps.folder / f"{name}.json").exists():
            found[name] = steps.once(name, dict)
    if existing:
        for name, seconds in run.facts()["durations_s"].items():
            if name in ("teacher", "mine", "label"):
                found[name] = {"seconds": seconds, "reused_from": run.folder.name}
    return found


def _say_of(say: Say, world: str, line: str) -> None:
    say(f"{world}: {line}")


def say_to_stderr(line: str) -> None:
    """Prints a line of progress."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201

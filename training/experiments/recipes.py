"""Learning rate and epochs of a reproduction's students, chosen for each loss by its value on held-out lists.

A rate that suits one loss ruins another, so that students of two losses can be compared only where each has its own.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..config import StudentDev, StudentStage
from .material import Material
from .plan import HUMAN, Plan, StudentPlan, first_lists
from .steps import Steps

AT_THE_END = 1e9
"""Epochs between two measurements of the dev loss: it is measured after the last step alone."""
A_FIFTH = 10**9
"""Dev lists: as many as `StudentDev` allows."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a loss is trained with.

    Attributes:
        learning_rate: at its highest.
        epochs: None: as many as the size of the set asks for.
    """

    learning_rate: float
    epochs: float | None = None

    def of(self, stage: StudentStage) -> StudentStage:
        """A stage with this recipe."""
        update: dict[str, Any] = {"learning_rate": self.learning_rate}
        if self.epochs is not None:
            update["epochs"] = self.epochs
        return stage.model_copy(update={"fit": stage.fit.model_copy(update=update)})


@dataclass(frozen=True, slots=True)
class Trials:
    """What trial students are trained from.

    Attributes:
        material: of the students.
        list_sizes: pairs of each list that the teacher labelled, in order.
        plan: the candidates and the size of a trial.
        folder: gets the work of trials, and is rid of it.
    """

    material: Material
    list_sizes: Sequence[int]
    plan: Plan
    folder: Path

    def choose(self, students: Iterable[StudentPlan], steps: Steps) -> dict[str, Recipe]:
        """The recipe of each kind of student: of the candidates the one with the lowest loss on held-out lists.

        Each candidate is a step: it trains a student on the first lists and measures it on those that follow; of
        human labels on four fifths of the queries and on the others.
        """
        recipes = {}
        for kind, stage in _kinds(students).items():
            losses = {
                recipe: steps.once(_name(kind, recipe), partial(self._try, recipe.of(stage), _name(kind, recipe)))
                for recipe in self._candidates(kind)
            }
            recipes[kind] = min(losses, key=lambda recipe: losses[recipe]["dev_loss"])
        return recipes

    def results(self, students: Iterable[StudentPlan], steps: Steps) -> list[dict[str, Any]]:
        """What the trials of `choose` found, one entry each."""
        return [steps.once(_name(kind, recipe), dict) for kind in _kinds(students) for recipe in self._candidates(kind)]

    def _candidates(self, kind: str) -> list[Recipe]:
        rates = self.plan.rates[kind]
        epochs = self.plan.human_epochs if kind == HUMAN else (None,)
        return [Recipe(rate, some) for some in epochs for rate in rates]

    def _try(self, stage: StudentStage, name: str) -> dict[str, Any]:
        held_out = A_FIFTH
        if stage.labels != "human":
            lists, _ = first_lists(self.list_sizes, self.plan.trial_pairs)
            held_out = min(self.plan.dev_lists, len(self.list_sizes) // 5)
            fit = stage.fit.model_copy(update={"epochs": 1.0})
            stage = stage.model_copy(update={"max_lists": lists + held_out, "fit": fit})
        dev = StudentDev(lists=held_out, every_epochs=AT_THE_END, patience=None)
        work = self.folder / name
        chosen = self.material.fit(stage, work, work / "out", dev)
        shutil.rmtree(work)
        return {
            "kind": HUMAN if stage.labels == "human" else stage.loss,
            "batch_pairs": stage.fit.batch_pairs,
            "learning_rate": stage.fit.learning_rate,
            "epochs": stage.fit.epochs,
            "dev_loss": chosen.dev_loss,
        }


def _kinds(students: Iterable[StudentPlan]) -> dict[str, StudentStage]:
    return {student.kind: student.stage for student in students}


def _name(kind: str, recipe: Recipe) -> str:
    epochs = f"-{recipe.epochs:g}-epochs" if recipe.epochs is not None else ""
    return f"trial-{kind}-{recipe.learning_rate:g}{epochs}"

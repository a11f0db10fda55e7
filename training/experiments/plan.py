"""Which students a reproduction trains: on how many pairs, for how many epochs, by which loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from ..config import Optimisation, StudentStage

SIZES = (10_000, 30_000, 100_000, 300_000)
POINTWISE_SIZE = 100_000
HUMAN = "human"
RATES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"margin": (1e-4, 2e-4), "pointwise": (1e-4, 2e-4), HUMAN: (3e-5, 1e-4, 3e-4)}
)
"""Candidates by kind of student. Short trials like higher rates than long trainings do: 5e-4 had the lowest margin loss
after 30,000 pairs of the controlled world, was no better than 2e-4 after 100,000, and failed in the human world."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and epochs.

    Attributes:
        sizes: labelled pairs of the students with the margin loss; each set holds the one before.
        pointwise_size: labelled pairs of the student with the pointwise loss.
        visits: pairs that a student sees at least, repeats included, so that small sets are not merely trained less.
        least_epochs: of the largest sets; a set seen once teaches less than the same pairs can.
        most_epochs: of the smallest set: beyond it a student learns the set by heart.
        human_epochs: candidates for the student on human labels alone.
        rates: candidates for the learning rate, by kind of student.
        trial_pairs: teacher-labelled pairs that a candidate is tried on, seen once.
        dev_lists: lists after those that candidates are measured on, at most a fifth of all.
    """

    sizes: tuple[int, ...] = SIZES
    pointwise_size: int = POINTWISE_SIZE
    visits: int = 100_000
    least_epochs: float = 5
    most_epochs: float = 10
    human_epochs: tuple[float, ...] = (4, 10)
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: RATES)
    trial_pairs: int = 30_000
    dev_lists: int = 100

    def scaled(self, scale: float) -> "Plan":
        """The same with `scale` times as many pairs and visits."""
        return replace(
            self,
            sizes=tuple(max(1, round(size * scale)) for size in self.sizes),
            pointwise_size=max(1, round(self.pointwise_size * scale)),
            visits=max(1, round(self.visits * scale)),
            trial_pairs=max(1, round(self.trial_pairs * scale)),
        )

    def epochs(self, pairs: int) -> float:
        """Epochs over a set of so many labelled pairs."""
        return round(min(self.most_epochs, max(self.least_epochs, self.visits / pairs)), 2)


@dataclass(frozen=True, slots=True)
class StudentPlan:
    """One student of a reproduction.

    Attributes:
        name: of its folder and its row.
        pairs: labelled pairs it learns from.
        stage: the one stage it is trained in.
    """

    name: str
    pairs: int
    stage: StudentStage

    @property
    def kind(self) -> str:
        """What its learning rate goes by: human labels, or the loss on a teacher's."""
        return HUMAN if self.stage.labels == "human" else self.stage.loss

    @property
    def visits(self) -> int:
        """Pairs it sees, repeats included."""
        return round(self.pairs * self.stage.fit.epochs)


def plan_students(plan: Plan, list_sizes: Sequence[int], human_pairs: int, fit: Optimisation) -> list[StudentPlan]:
    """The students of one world, cheapest first; their learning rates and human epochs are yet to be chosen.

    Args:
        plan: sizes and epochs; sizes beyond the labelled pairs are left out.
        list_sizes: pairs of each labelled list, in order; a set is the first lists that hold at least its size.
        human_pairs: judged training pairs.
        fit: optimiser of the students; batches of the human ones hold a quarter as many pairs.
    """
    human_fit = fit.model_copy(
        update={"epochs": plan.human_epochs[0], "batch_pairs": max(1, fit.batch_pairs // 4)},
    )
    students = [StudentPlan(HUMAN, human_pairs, StudentStage(labels="human", loss="soft-target", fit=human_fit))]
    available = sum(list_sizes)
    sizes = [size for size in plan.sizes if size <= available] or [available]
    losses: list[tuple[int, Literal["margin", "pointwise"]]] = [(size, "margin") for size in sizes]
    losses.append((min(plan.pointwise_size, available), "pointwise"))
    for size, loss in sorted(losses):
        lists, pairs = first_lists(list_sizes, size)
        stage = StudentStage(
            labels="teacher",
            loss=loss,
            fit=fit.model_copy(update={"epochs": plan.epochs(pairs)}),
            max_lists=lists,
        )
        students.append(StudentPlan(f"{loss}-{size}", pairs, stage))
    return students


def first_lists(list_sizes: Sequence[int], wanted: int) -> tuple[int, int]:
    """How many first lists hold at least `wanted` pairs, and how many pairs they hold."""
    pairs = 0
    for lists, size in enumerate(list_sizes, start=1):
        pairs += size
        if pairs >= wanted:
            return lists, pairs
    return len(list_sizes), pairs

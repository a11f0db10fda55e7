"""Which students a reproduction trains: on how many pairs, for how many epochs, by which loss."""

from dataclasses import dataclass
from typing import Literal

from ..config import Optimisation, StudentStage

SIZES = (10_000, 30_000, 100_000, 300_000)
POINTWISE_SIZE = 100_000
HUMAN = "human"


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and epochs.

    Attributes:
        sizes: labelled pairs of the students with the margin loss; each set holds the one before.
        pointwise_size: labelled pairs of the student with the pointwise loss.
        visits: pairs that a student sees at least, repeats included, so that small sets are not merely trained less.
        least_epochs: of the largest set.
        most_epochs: of the smallest set: beyond it a student learns the set by heart.
        human_epochs: of the student on human labels alone.
    """

    sizes: tuple[int, ...] = SIZES
    pointwise_size: int = POINTWISE_SIZE
    visits: int = 100_000
    least_epochs: float = 1
    most_epochs: float = 10
    human_epochs: float = 4

    def scaled(self, scale: float) -> "Plan":
        """The same with `scale` times as many pairs and visits."""
        return Plan(
            tuple(max(1, round(size * scale)) for size in self.sizes),
            max(1, round(self.pointwise_size * scale)),
            max(1, round(self.visits * scale)),
            self.least_epochs,
            self.most_epochs,
            self.human_epochs,
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
    def visits(self) -> int:
        """Pairs it sees, repeats included."""
        return round(self.pairs * self.stage.fit.epochs)


def plan_students(plan: Plan, list_sizes: list[int], human_pairs: int, fit: Optimisation) -> list[StudentPlan]:
    """The students of one world, cheapest first.

    Args:
        plan: sizes and epochs; sizes beyond the labelled pairs are left out.
        list_sizes: pairs of each labelled list, in order; a set is the first lists that hold at least its size.
        human_pairs: judged training pairs.
        fit: optimiser of the students on teacher's labels; the human ones' has the same but for epochs, and a batch
            of a quarter at half the rate.
    """
    human_fit = fit.model_copy(
        update={
            "epochs": plan.human_epochs,
            "batch_pairs": max(1, fit.batch_pairs // 4),
            "learning_rate": fit.learning_rate / 2,
        }
    )
    students = [StudentPlan(HUMAN, human_pairs, StudentStage(labels="human", loss="soft-target", fit=human_fit))]
    available = sum(list_sizes)
    sizes = [size for size in plan.sizes if size <= available] or [available]
    losses: list[tuple[int, Literal["margin", "pointwise"]]] = [(size, "margin") for size in sizes]
    losses.append((min(plan.pointwise_size, available), "pointwise"))
    for size, loss in sorted(losses):
        lists, pairs = _first_lists(list_sizes, size)
        stage = StudentStage(
            labels="teacher",
            loss=loss,
            fit=fit.model_copy(update={"epochs": plan.epochs(pairs)}),
            max_lists=lists,
        )
        students.append(StudentPlan(f"{loss}-{size}", pairs, stage))
    return students


def _first_lists(list_sizes: list[int], wanted: int) -> tuple[int, int]:
    """How many first lists hold at least `wanted` pairs, and how many pairs they hold."""
    pairs = 0
    for lists, size in enumerate(list_sizes, start=1):
        pairs += size
        if pairs >= wanted:
            return lists, pairs
    return len(list_sizes), pairs

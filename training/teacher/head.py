"""The two heads of a teacher: one logit (the paper's), or one output per grade."""

from dataclasses import dataclass

from torch import Tensor

from ..config import Teacher
from ..losses import soft_target_loss
from ..losses.soft_grades import gain_logit, soft_grades_loss


@dataclass(frozen=True, slots=True)
class Head:
    """What a teacher's outputs, shape (pairs, size), mean.

    Args:
        levels: the soft target of each grade, rising from 0 to 1; None: the one output is a logit.
    """

    levels: tuple[float, ...] | None = None

    @classmethod
    def of(cls, settings: Teacher) -> "Head":
        """The head that a configuration asks for."""
        return cls(settings.levels if settings.head == "grades" else None)

    @property
    def size(self) -> int:
        """How many outputs a pair has."""
        return 1 if self.levels is None else len(self.levels)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean negative log-likelihood of soft targets, shape (pairs,): a scalar."""
        if self.levels is None:
            return soft_target_loss(outputs[:, 0], targets)
        return soft_grades_loss(outputs, targets, self.levels)

    def logit(self, outputs: Tensor) -> Tensor:
        """Logits of relevance, shape (pairs,): of the probability, or of the expected gain."""
        return outputs[:, 0] if self.levels is None else gain_logit(outputs, self.levels)

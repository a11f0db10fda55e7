"""What the students of an experiment are trained from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ..config import Student, StudentDev, StudentStage
from ..loop import Chosen
from ..runs import Run
from ..split import Shared
from ..student import fit_student
from ..tables import shards


@dataclass(frozen=True, slots=True)
class Material:
    """What all students of one world have in common.

    Attributes:
        settings: of a student, but for its one stage.
        sources: shards of labelled lists, by who labelled them.
        seed: of all students.
    """

    settings: Student
    sources: Mapping[str, Sequence[Path]]
    seed: int

    @classmethod
    def of(cls, run: Run) -> Self:
        """A run's labels and student, which reads all its fields but the one that its teacher has above it."""
        student = run.config.student
        fields = tuple(field for field in student.template.fields if field.name != "description")
        template = student.template.model_copy(update={"fields": fields})
        sources = {kind: shards(run.labelled(kind)) for kind in ("human", "teacher")}
        return cls(student.model_copy(update={"template": template}), sources, run.config.seed)

    def fit(
        self,
        stage: StudentStage,
        work: Path,
        out: Path,
        dev: StudentDev | None = None,
        shared: Shared | None = None,
    ) -> Chosen:
        """Trains one student, going on where an earlier call was stopped; as `fit_student`."""
        settings = self.settings.model_copy(update={"stages": (stage,), "dev": dev or StudentDev()})
        (chosen,) = fit_student(settings, self.sources, work, out, self.seed, shared)
        return chosen

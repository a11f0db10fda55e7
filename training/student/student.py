"""The student: a small cross-encoder that learns, from labelled lists alone, the margins between a query's products."""

import math
import sys
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from artifact import InputTemplate

from ..config import StudentStage
from ..cross_encoder import TEMPLATE_FILE, CrossEncoder, EncodedPair, read_template
from ..device import pick_device
from ..errors import TrainingError
from ..label import unlabelled
from ..loop import fit, shuffled_batch
from ..losses import margin_loss
from ..mining.mine import DONE_FILE
from ..runs import Run, read_json
from ..tables import CandidateList, read_lists


@dataclass(frozen=True, slots=True)
class _Example:
    """A labelled list, tokenised."""

    pairs: list[EncodedPair]
    logits: list[float]


def train_student(run: Run) -> bool:
    """Trains the student through its stages and writes its checkpoint.

    Returns:
        Whether there was anything to do.

    Raises:
        TrainingError: not all lists that its stages ask for are labelled.
    """
    if (run.student / TEMPLATE_FILE).exists():
        return False
    for labels, paths in unlabelled(run).items():
        if paths:
            raise TrainingError(f"{run.folder}: lacks labels by {labels}; run the stage `label` first")
    settings = run.config.student
    torch.manual_seed(run.config.seed)
    student = CrossEncoder.create(settings.init, settings.template, run.work("student"), settings.layers)
    for number, stage in enumerate(settings.stages):
        done = run.work("student") / f"stage-{number}"
        if (done / TEMPLATE_FILE).exists():
            student = CrossEncoder.read(done)
        else:
            _train_stage(run, student, number, stage)
            student.save(done)
    student.save(run.student)
    return True


def read_student_template(run: Run) -> InputTemplate:
    """The input template of the finished student.

    Raises:
        TrainingError: it is not finished.
    """
    path = run.student / TEMPLATE_FILE
    if not path.exists():
        raise TrainingError(f"{run.folder}: has no finished student; run the stage `student` first")
    return read_template(path)


def _train_stage(run: Run, student: CrossEncoder, number: int, stage: StudentStage) -> None:
    # The labels carry no noise of raters, and a pair is seen once or twice: dropout would only cost time.
    student.drop_nothing()
    examples = _examples(run, student, stage)
    lists_per_batch = min(len(examples), max(1, round(stage.fit.batch_pairs / _mean_length(examples))))
    weight = run.config.student.pointwise_weight
    device = pick_device()

    def step_loss(step: int) -> Tensor:
        batch = [examples[i] for i in shuffled_batch(step, lists_per_batch, len(examples), run.config.seed, number)]
        logits = student([pair for example in batch for pair in example.pairs])
        labels = torch.tensor([logit for example in batch for logit in example.logits], device=device)
        s, t, present = pad_lists(logits, labels, [len(example.pairs) for example in batch])
        return margin_loss(s, t, present, weight)

    steps = math.ceil(len(examples) // lists_per_batch * stage.fit.epochs)
    folder = run.work("student") / f"stage-{number}-fit"
    fit(student, step_loss, steps, stage.fit, folder, run.config.seed, f"student, {stage.labels} labels")


def pad_lists(student: Tensor, teacher: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Flat logits, shape (pairs,), to padded ones of shape (lists, longest), and which of these are present."""
    longest = max(lengths)
    present = torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]
    present = present.to(student.device)
    shape = (len(lengths), longest)
    s = torch.zeros(shape, device=student.device, dtype=student.dtype).masked_scatter(present, student)
    t = torch.zeros(shape, device=student.device, dtype=teacher.dtype).masked_scatter(present, teacher)
    return s, t, present


def _examples(run: Run, student: CrossEncoder, stage: StudentStage) -> list[_Example]:
    lists = islice(read_lists(run.labelled(stage.labels)), stage.max_lists)
    total = min(read_json(run.mined / DONE_FILE)["queries"], stage.max_lists or sys.maxsize)
    progress = tqdm(lists, f"tokenise, {stage.labels} labels", total, unit="list", mininterval=2, dynamic_ncols=True)
    return [_encode(student, entry) for entry in progress]


def _encode(student: CrossEncoder, entry: CandidateList) -> _Example:
    logits = [candidate.logit for candidate in entry.candidates]
    if None in logits:
        raise TrainingError(f"list {entry.number} has candidates without a logit; delete its shard and label again")
    pairs = student.encode([(entry.query, candidate.product) for candidate in entry.candidates])
    return _Example(pairs, [logit for logit in logits if logit is not None])


def _mean_length(examples: list[_Example]) -> float:
    return sum(len(example.pairs) for example in examples) / len(examples)

"""The student: a small cross-encoder that learns, from labelled lists alone, the margins between a query's products."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from artifact import InputTemplate, PairTokenizer

from .. import parallel
from ..config import INIT_FROM_TEACHER, Student, StudentStage
from ..cross_encoder import TEMPLATE_FILE, CrossEncoder, read_template
from ..device import autocast, pick_device
from ..errors import TrainingError
from ..label import unlabelled
from ..loop import Chosen, Selection, fit, shuffled_batch
from ..losses import LOSSES
from ..pretrained import TOKENIZER_FILE, pair_tokenizer
from ..runs import Run, read_json, write_json
from ..split import SHAPE_FILE, Shared, SplitStudent, start_split
from ..tables import shards
from ..token_store import Example, TokenStore
from .human import write_human_lists
from .sampling import sample_by_quantiles

StudentModel = CrossEncoder | SplitStudent

CHOSEN_FILE = "chosen.json"
STATES_FOLDER = "states"
FIRST_LISTS = Path("stage-0-fit") / "lists"
"""Where the first stage keeps its tokenised lists, which a split student's start reads too."""
UNANCHORED = ("pointwise", "soft-target")
"""Losses that already give scores one scale across queries, without `pointwise_weight`."""


def train_student(run: Run) -> bool:
    """Trains the student of a run through its stages and writes its checkpoint.

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
    if settings.init == INIT_FROM_TEACHER:
        settings = settings.model_copy(update={"init": str(run.teacher)})
    if any(stage.labels == "human" for stage in settings.stages):
        parallel.by_main(lambda: write_human_lists(run))
    sources: dict[str, Sequence[Path]] = {stage.labels: shards(run.labelled(stage.labels)) for stage in settings.stages}
    fit_student(settings, sources, run.work("student"), run.student, run.config.seed)
    return True


def fit_student(
    settings: Student,
    sources: Mapping[str, Sequence[Path]],
    work: Path,
    out: Path,
    seed: int,
    shared: Shared | None = None,
) -> tuple[Chosen, ...]:
    """Trains a student through its stages, going on where an earlier call was stopped.

    Args:
        settings: of the student; `labels` of each stage is a key of `sources`.
        sources: shards of labelled lists, by who labelled them.
        work: folder of tokenised lists and unfinished checkpoints.
        out: folder of the finished checkpoint.
        seed: of the order of lists, the products drawn from them and new weights.
        shared: has, or gets, what a split student computes before its first step; None: it stands in `work` until then.

    Returns:
        Of each stage, after how many steps its weights were reached, and their dev loss where lists were kept apart.

    Raises:
        TrainingError: a shard is damaged, or training fails.
    """
    torch.manual_seed(seed)
    here = parallel.processes()
    if here.sharded:
        raise TrainingError("the student is small and is not sharded: launch it with --multi_gpu, without FSDP")
    own = work if here.main else work / f"process-{here.rank}"  # gets the tokenizer, of each process its own
    student: StudentModel
    if settings.split is None:
        student = CrossEncoder.create(settings.init, settings.template, own, settings.layers)
    else:
        first = settings.stages[0]
        tokenizer = pair_tokenizer(settings.init, settings.template, own)
        store = _store(first, sources[first.labels], tokenizer, work / FIRST_LISTS)
        student = start_split(settings, settings.split, store, tokenizer, own / TOKENIZER_FILE, work, seed, shared)
    for number, stage in enumerate(settings.stages):
        done, fitted = work / f"stage-{number}", work / f"stage-{number}-fit"
        if not (done / TEMPLATE_FILE).exists():
            chosen = _fit_stage(settings, student, stage, sources[stage.labels], fitted, (seed, number), shared)
            parallel.by_main(partial(_save, student, chosen, done))
        shutil.rmtree(fitted / STATES_FOLDER, ignore_errors=True)
        student = read_student(done)  # with its dropout as it was
    parallel.by_main(partial(student.save, out))
    return tuple(Chosen(**read_json(work / f"stage-{number}" / CHOSEN_FILE)) for number in range(len(settings.stages)))


def read_student(folder: Path) -> StudentModel:
    """The student whose checkpoint stands in a folder, of either architecture.

    Raises:
        TrainingError: it is not finished, or damaged.
    """
    return SplitStudent.read(folder) if (folder / SHAPE_FILE).exists() else CrossEncoder.read(folder)


def read_student_template(run: Run) -> InputTemplate:
    """The input template of the finished student.

    Raises:
        TrainingError: it is not finished.
    """
    path = run.student / TEMPLATE_FILE
    if not path.exists():
        raise TrainingError(f"{run.folder}: has no finished student; run the stage `student` first")
    return read_template(path)


def _store(stage: StudentStage, paths: Sequence[Path], tokenizer: PairTokenizer, folder: Path) -> TokenStore:
    """The lists of a stage, tokenised by the main process if they are not there."""
    column: Literal["target", "logit"] = "target" if stage.labels == "human" else "logit"
    fewest = 1 if stage.labels == "human" else 2
    parallel.by_main(
        lambda: TokenStore.build(folder, paths, tokenizer, column, stage.max_lists, fewest, stage.skip_lists)
    )
    return TokenStore(folder)


def _save(student: StudentModel, chosen: Chosen, folder: Path) -> None:
    """Writes a stage's end, the template last."""
    write_json(folder / CHOSEN_FILE, asdict(chosen))
    student.save(folder)


def _fit_stage(
    settings: Student,
    student: StudentModel,
    stage: StudentStage,
    paths: Sequence[Path],
    folder: Path,
    seed: tuple[int, int],
    shared: Shared | None,
) -> Chosen:
    if stage.labels != "human":
        # The labels carry no noise of raters, and a pair is seen once or twice: dropout would only cost time.
        student.drop_nothing()
    store = _store(stage, paths, student.tokenizer, folder / "lists")
    if isinstance(student, SplitStudent) and settings.split is not None and not settings.split.train_encoders:
        student.freeze(folder / STATES_FOLDER, store, stage.fit.precision, shared)
    trained = store.lists - min(settings.dev.lists, store.lists // 5)
    mean_size = min(stage.list_size or math.inf, store.pairs / store.lists)
    # a multiple of the processes, which share a batch equally
    count = parallel.processes().count
    lists_per_batch = min(trained // count, max(1, round(stage.fit.batch_pairs / mean_size / count))) * count
    if not lists_per_batch:
        raise TrainingError(f"{trained} labelled lists cannot be shared by {count} processes: label more, or use fewer")

    anchor = 0.0 if stage.loss in UNANCHORED else settings.pointwise_weight

    def loss_of(examples: Sequence[Example]) -> Tensor:
        logits = student([pair for example in examples for pair in example.pairs])
        labels = torch.from_numpy(np.concatenate([example.labels for example in examples])).to(logits.device)
        labels = labels.logit() if stage.labels == "human" else labels
        s, t, present = pad_lists(logits, labels, [len(example.pairs) for example in examples])
        return LOSSES[stage.loss](s, t, present, anchor)

    def step_loss(step: int) -> Tensor:
        picked = parallel.share(shuffled_batch(step, lists_per_batch, trained, *seed)).tolist()
        return loss_of([_sampled(store[i], stage.list_size, (*seed, step, i)) for i in picked])

    def dev_loss() -> float:
        student.eval()
        total = 0.0
        with torch.no_grad(), autocast(pick_device(), stage.fit.precision):
            for start in range(trained, store.lists, lists_per_batch):
                examples = [store[i] for i in range(start, min(start + lists_per_batch, store.lists))]
                total += float(loss_of(examples)) * len(examples)
        return total / (store.lists - trained)

    per_epoch = trained // lists_per_batch
    selection = None
    if trained < store.lists:
        every = max(1, round(per_epoch * settings.dev.every_epochs))
        selection = Selection(dev_loss, every, settings.dev.patience)
    steps = math.ceil(per_epoch * stage.fit.epochs)
    name = f"student, {stage.labels} labels"
    return fit(student, step_loss, steps, stage.fit, folder, seed[0], name, selection=selection)


def _sampled(example: Example, size: int | None, seed: tuple[int, ...]) -> Example:
    if size is None or len(example.pairs) <= size:
        return example
    picked = sample_by_quantiles(example.labels, size, np.random.default_rng(seed))
    return Example([example.pairs[i] for i in picked], example.labels[picked])


def pad_lists(student: Tensor, teacher: Tensor, lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Flat logits, shape (pairs,), to padded ones of shape (lists, longest), and which of these are present."""
    longest = max(lengths)
    present = torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]
    present = present.to(student.device)
    shape = (len(lengths), longest)
    s = torch.zeros(shape, device=student.device, dtype=student.dtype).masked_scatter(present, student)
    t = torch.zeros(shape, device=student.device, dtype=teacher.dtype).masked_scatter(present, teacher)
    return s, t, present

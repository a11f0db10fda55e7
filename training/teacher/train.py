"""Fine-tunes the teacher: on the training queries less dev, chosen and calibrated on dev, perhaps refitted on all."""

import math
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm
from transformers import AutoConfig

from .. import parallel
from ..cross_encoder import CrossEncoder
from ..device import autocast, pick_device
from ..loop import Chosen, Selection, fit, shuffled_batch
from ..parallel import processes
from ..pretrained import load
from ..runs import Run, write_json
from .calibration import fit_temperature, fitness
from .classifier import TextClassifier
from .dev import Rows, split_dev
from .families import check_teacher
from .head import Head
from .judged import Judged, refuse_one_target, similarities
from .shortcut import fit_shortcut
from .teacher import TEACHER_FILE, Teacher, similarity_of


def train_teacher(run: Run) -> bool:
    """Fine-tunes the teacher, calibrates it, and writes its checkpoint; of several processes each calls this.

    The folder gets the checkpoint and, last, `teacher.json`: the head, the shortcut, the temperature, and how well dev
    was fitted before and after calibration.

    Returns:
        Whether there was anything to do.

    Raises:
        TrainingError: the judgements or the model cannot be used, or training cannot go on.
    """
    if (run.teacher / TEACHER_FILE).exists():
        return False
    settings = run.config.teacher
    check_teacher(settings)
    judged = Judged.read(run)
    train, dev = split_dev(judged.queries, settings.dev.share, settings.dev.max_pairs)
    refuse_one_target(judged.targets[train], "judged pairs to train on, dev aside,")
    features = similarities(similarity_of(run), judged) if settings.shortcut else None
    fine_tuning = _FineTuning(run, judged, features)
    teacher, chosen = fine_tuning.fit(train, dev, None)
    record: dict[str, Any] = {"temperature": 1.0, "dev": None}
    if len(dev):
        record = _calibrate(fine_tuning.outputs(teacher, dev), fine_tuning.targets[dev], teacher.head)
        queries = len(judged.queries.take(pa.array(dev)).unique())
        record["dev"] |= {"queries": queries, "pairs": len(dev), "steps": chosen.steps, "loss": chosen.dev_loss}
        if processes().main:
            _show(record)
    if settings.refit:
        teacher, chosen = fine_tuning.fit(np.arange(len(judged)), dev[:0], chosen.steps)
    fine_tuning.save(teacher, {"steps": chosen.steps, "refitted": settings.refit, **record})
    return True


class _FineTuning:
    """The judged pairs of a run, and what is done with them.

    Args:
        run: the run.
        judged: its judged training pairs.
        features: their similarities, shape (pairs, 2), where the teacher has a shortcut.
    """

    def __init__(self, run: Run, judged: Judged, features: NDArray[np.float32] | None) -> None:
        self.run = run
        self.settings = run.config.teacher
        self.head = Head.of(self.settings)
        self.judged = judged
        self.features = features
        self.targets = torch.from_numpy(judged.targets)

    def fit(self, train: Rows, dev: Rows, steps: int | None) -> tuple[Teacher, Chosen]:
        """A teacher fine-tuned on rows, with the weights that dev rows choose if there are any.

        Args:
            train: rows to train on.
            dev: rows to choose on.
            steps: how many; None: as many as the epochs of the configuration have.
        """
        settings, seed = self.settings.fit, self.run.config.seed
        torch.manual_seed(seed)
        teacher = self._create(train)
        size = min(settings.batch_pairs, len(train))

        def step_loss(step: int) -> Tensor:
            rows = train[parallel.share(shuffled_batch(step, size, len(train), seed))]
            return self.head.loss(self._forward(teacher, rows), self.targets[rows].to(pick_device()))

        def dev_loss() -> float:
            return float(self.head.loss(self.outputs(teacher, dev), self.targets[dev]))

        per_epoch = len(train) // size
        every = max(1, round(per_epoch * self.settings.dev.every_epochs))
        selection = Selection(dev_loss, every, self.settings.dev.patience) if len(dev) else None
        folder = self.run.work("teacher") / ("refit" if steps else "fit")
        label = "teacher, refit" if steps else "teacher"
        steps = steps or math.ceil(per_epoch * settings.epochs)
        return teacher, fit(teacher, step_loss, steps, settings, folder, seed, label, selection=selection)

    def outputs(self, teacher: Teacher, rows: Rows) -> Tensor:
        """Outputs of rows, shape (rows, head.size), in evaluation mode; each process computes a part."""
        whole = -(-len(rows) // processes().count) * processes().count
        own = parallel.share(np.resize(rows, whole))  # a process without a pair of its own repeats one
        teacher.eval()
        with torch.no_grad(), autocast(pick_device(), self.settings.fit.precision):
            outputs = self._forward(teacher, own)
        return parallel.gather(outputs)[: len(rows)].float().cpu()

    def save(self, teacher: Teacher, record: dict[str, Any]) -> None:
        """Writes the checkpoint, by the main process, `teacher.json` last."""
        state = parallel.trainable_state(teacher)
        if processes().main:
            if processes().sharded:
                teacher = self._create(np.arange(len(self.judged)))
                teacher.load_state_dict(state, strict=False)
            teacher.cross_encoder.save(self.run.teacher)
            shortcut = teacher.shortcut
            linear = shortcut and {"weights": shortcut.weight.tolist(), "bias": shortcut.bias.tolist()}
            record = {"head": self.settings.head, "levels": self.head.levels, "shortcut": linear, **record}
            write_json(self.run.teacher / TEACHER_FILE, record)
        parallel.wait()

    def _create(self, train: Rows) -> Teacher:
        classifier: CrossEncoder | TextClassifier
        if self._is_plain_bert():
            folder = self.run.work("teacher")  # gets the tokenizer, of each process its own
            folder = folder if processes().main else folder / f"process-{processes().rank}"
            classifier = CrossEncoder.create(self.settings.model, self.settings.template, folder)
        else:
            classifier = TextClassifier.create(self.settings, self.head.size)
        shortcut = None
        if self.features is not None:
            shortcut = fit_shortcut(self.features[train], self.targets[train].numpy(), self.head)
        return Teacher(classifier, self.head, shortcut)

    def _is_plain_bert(self) -> bool:
        """Whether `CrossEncoder` will do, whose labels our exported graphs can compute as well."""
        settings = self.settings
        special = settings.lora is not None or settings.gradient_checkpointing or processes().sharded
        found: str = load(AutoConfig, settings.model).model_type
        return found == "bert" and self.head.size == 1 and not special

    def _forward(self, teacher: Teacher, rows: Rows) -> Tensor:
        encoded = teacher.cross_encoder.encode(self.judged.texts(rows))
        features = None if self.features is None else torch.from_numpy(self.features[rows]).to(pick_device())
        outputs: Tensor = teacher(encoded, features)
        return outputs


def _calibrate(outputs: Tensor, wanted: Tensor, head: Head) -> dict[str, Any]:
    temperature = fit_temperature(outputs, wanted, head)
    before, after = fitness(outputs, wanted, head), fitness(outputs / temperature, wanted, head)
    dev = {"before_calibration": before.as_dict(), "after_calibration": after.as_dict()}
    return {"temperature": temperature, "dev": dev}


def _show(record: dict[str, Any]) -> None:
    dev = record["dev"]
    before, after = dev["before_calibration"], dev["after_calibration"]
    tqdm.write(
        f"teacher: best after {dev['steps']} steps, by {dev['pairs']} dev pairs of {dev['queries']} queries; "
        f"temperature {record['temperature']:.3f}: negative log-likelihood {before['nll']:.4f} -> {after['nll']:.4f}, "
        f"calibration error {before['ece']:.4f} -> {after['ece']:.4f}",
        file=sys.stderr,
    )

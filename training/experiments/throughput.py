"""Training throughput: the student's loop beside a plain `transformers.Trainer` on the same pairs, batches and loss."""

import csv
import gzip
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PrinterCallback, Trainer, TrainingArguments

from artifact import InputTemplate, TemplateField

from ..config import Optimisation
from ..cross_encoder import CrossEncoder
from ..device import pick_device
from ..loop import fit, shuffled_batch
from ..losses import margin_loss
from ..pretrained import load
from ..student import pad_lists
from .worlds import CATALOGUE

LIST_SIZE = 16
TEMPLATE = InputTemplate(fields=(TemplateField(name="title", max_tokens=64),), max_query_tokens=16, max_tokens=64)
_TEXT = "wireless optical mouse network cable black toner cartridge laser printer compatible with series laptop"
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Workload:
    """What both loops train on.

    Attributes:
        model: pretrained encoder.
        layers: how many of its layers are kept, evenly spread.
        pairs: (query, product's text), a multiple of 16: lists of 16.
        batch_pairs: pairs per step.
    """

    model: str
    layers: int
    pairs: Sequence[Pair]
    batch_pairs: int

    @property
    def steps(self) -> int:
        """Steps of one pass."""
        return max(1, len(self.pairs) // self.batch_pairs)

    @property
    def trained_pairs(self) -> int:
        """Pairs of all steps."""
        return self.steps * self.batch_pairs


def read_pairs(data: Path, count: int, seed: int = 0) -> list[Pair]:
    """Pairs of a query and a product's real title and description, of about 40 tokens, if the catalogue is there; else
    made-up ones of the same length."""
    random = np.random.default_rng(seed)
    count = math.ceil(count / LIST_SIZE) * LIST_SIZE
    path = data / CATALOGUE
    if path.exists():
        with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["title"].strip()]
        picked = [f"{rows[i]['title']}. {rows[i]['short_description']}" for i in random.permutation(len(rows))[:count]]
    else:
        picked = [" ".join(random.choice(_TEXT.split(), int(random.integers(14, 52)))) for _ in range(count)]
    queries = [" ".join(title.split()[1:5]).lower() or title for title in picked[::LIST_SIZE]]
    return [(queries[i // LIST_SIZE], title) for i, title in enumerate(picked)]


def compare_loops(work: Workload, rounds: int) -> str:
    """Both loops in turn, one pass each a round after one that is not counted.

    Returns:
        A paragraph: mean tokens a pair, pairs/s of each loop and the ratios, each as the median and the range of the
        rounds.
    """
    labels = np.random.default_rng(1).normal(size=len(work.pairs)).astype(np.float32)
    ours, tokens = _student_loop(work, labels)
    trainer = _trainer_loop(work, labels, bf16=False)
    trainer_bf16 = _trainer_loop(work, labels, bf16=True)
    loops: list[Callable[[], float]] = [ours, trainer, trainer_bf16]
    speeds = np.asarray([[work.trained_pairs / loop() for loop in loops] for _ in range(rounds + 1)])[1:]
    own, plain, bf16 = speeds.T
    return (
        f"{work.layers} layers, {tokens:.1f} tokens a pair, {work.batch_pairs} pairs a step, {rounds} rounds of "
        f"{work.trained_pairs} pairs; median [range]:\n"
        f"  student loop                 {_spread(own, 0)} pairs/s\n"
        f"  transformers.Trainer         {_spread(plain, 0)} pairs/s; ratio {_spread(own / plain, 2)}\n"
        f"  transformers.Trainer, bf16   {_spread(bf16, 0)} pairs/s; ratio {_spread(own / bf16, 2)}"
    )


def kept_layers(present: int, wanted: int) -> list[int]:
    """Which layers stay: every other one if half are wanted, all if all are."""
    return [i * present // wanted for i in range(wanted)]


def _spread(values: np.ndarray[Any, Any], digits: int) -> str:
    return f"{np.median(values):.{digits}f} [{values.min():.{digits}f}, {values.max():.{digits}f}]"


def _student_loop(work: Workload, labels: np.ndarray[Any, Any]) -> tuple[Callable[[], float], float]:
    """A timed pass of `loop.fit` over encoded lists, and the mean number of tokens a pair."""
    device = pick_device()
    settings = Optimisation(learning_rate=1e-4, epochs=1, batch_pairs=work.batch_pairs, checkpoint_every_s=3600)
    lists_per_batch = work.batch_pairs // LIST_SIZE

    def timed() -> float:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            student, encoded = _student(work, folder)

            def step_loss(step: int) -> Tensor:
                picked = shuffled_batch(step, lists_per_batch, len(labels) // LIST_SIZE, 0).tolist()
                rows = [i * LIST_SIZE + j for i in picked for j in range(LIST_SIZE)]
                logits = student([encoded[i] for i in rows])
                wanted = torch.from_numpy(labels[rows]).to(device)
                return margin_loss(*pad_lists(logits, wanted, [LIST_SIZE] * lists_per_batch))

            start = time.perf_counter()
            fit(student, step_loss, work.steps, settings, folder / "fit", 0, "student loop")
            return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as name:
        student, encoded = _student(work, Path(name))
        tokens = float(np.mean([student.tokenizer.pair_length(len(q), len(p)) for q, p in encoded]))
    return timed, tokens


def _student(work: Workload, folder: Path) -> tuple[CrossEncoder, list[Any]]:
    whole = load(AutoModelForSequenceClassification, work.model, num_labels=1)
    layers = kept_layers(whole.config.num_hidden_layers, work.layers)
    student = CrossEncoder.create(work.model, TEMPLATE, folder, layers)
    student.drop_nothing()
    return student, student.encode([(query, {"title": title}) for query, title in work.pairs])


class _ListTrainer(Trainer):  # type: ignore[misc]
    """The standard trainer with the margin loss over its flattened lists."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        """Inputs hold whole lists, so that logits can be cut into them."""
        labels = inputs.pop("labels").view(-1, LIST_SIZE)
        logits = model(**inputs).logits.view(-1, LIST_SIZE).float()
        return margin_loss(logits, labels, torch.ones_like(labels, dtype=torch.bool))


def _trainer_loop(work: Workload, labels: np.ndarray[Any, Any], bf16: bool) -> Callable[[], float]:
    tokenizer = load(AutoTokenizer, work.model)
    queries, titles = [pair[0] for pair in work.pairs], [pair[1] for pair in work.pairs]
    encoded = tokenizer(queries, titles, truncation=True, max_length=TEMPLATE.max_tokens)
    names = list(encoded)
    rows = [{name: encoded[name][i] for name in names} for i in range(len(labels))]
    lists = [
        {"rows": rows[start : start + LIST_SIZE], "labels": labels[start : start + LIST_SIZE]}
        for start in range(0, len(rows), LIST_SIZE)
    ]

    def collate(batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        padded = tokenizer.pad([row for entry in batch for row in entry["rows"]], return_tensors="pt")
        return {**padded, "labels": torch.from_numpy(np.concatenate([entry["labels"] for entry in batch]))}

    def timed() -> float:
        model = load(AutoModelForSequenceClassification, work.model, num_labels=1)
        kept = kept_layers(model.config.num_hidden_layers, work.layers)
        model.base_model.encoder.layer = nn.ModuleList([model.base_model.encoder.layer[i] for i in kept])
        model.config.num_hidden_layers = len(kept)
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=work.batch_pairs // LIST_SIZE,
                max_steps=work.steps,
                learning_rate=1e-4,
                bf16=bf16,
                use_cpu=pick_device().type == "cpu",
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
            )
            trainer = _ListTrainer(model=model, args=arguments, train_dataset=lists, data_collator=collate)
            trainer.remove_callback(PrinterCallback)
            start = time.perf_counter()
            trainer.train()
            return time.perf_counter() - start

    return timed

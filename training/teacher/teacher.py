"""The teacher: a cross-encoder with a similarity shortcut, fine-tuned on soft targets of human grades.

logit = cross_encoder(query, product) + w . (cosine, MaxSim) + b. The cross-encoder's head starts at zero and w, b at
the logistic fit of the similarities, so that the teacher starts as good as they are and fine-tuning adds to that. With
a few thousand human labels a cross-encoder without the shortcut ends below them.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from artifact import Product

from ..config import Precision
from ..cross_encoder import CrossEncoder, EncodedPair
from ..data import JudgedPair, read_all_judgements
from ..device import pick_device
from ..errors import TrainingError
from ..loop import fit, shuffled_batch
from ..losses import soft_target_loss
from ..runs import Run, read_json, write_json
from .similarity import FEATURES, SentenceEncoder, Similarity, SimilarityLabeller, fit_logistic

SHORTCUT_FILE = "shortcut.json"
ENCODED_TOGETHER = 1024


class Teacher(nn.Module):
    """Cross-encoder plus a linear layer over the similarity features of a pair."""

    def __init__(self, cross_encoder: CrossEncoder, weights: Sequence[float], bias: float) -> None:
        super().__init__()
        self.cross_encoder = cross_encoder
        self.shortcut = nn.Linear(FEATURES, 1)
        with torch.no_grad():
            self.shortcut.weight.copy_(torch.tensor([list(weights)]))
            self.shortcut.bias.fill_(bias)

    def forward(self, pairs: Sequence[EncodedPair], features: Tensor, chunk: int = 32) -> Tensor:
        """Logits of pairs, shape (pairs,); `features` has shape (pairs, 2)."""
        shortcut: Tensor = self.shortcut(features.float())[:, 0]
        logits: Tensor = self.cross_encoder(pairs, chunk) + shortcut
        return logits


class TeacherLabeller:
    """A finished teacher as a function from text pairs to logits, shape (n,).

    `cross` gives the cross-encoder's part of them, shape (n,); another engine of the same weights may take its place.
    """

    def __init__(self, teacher: Teacher, similarity: Similarity, precision: Precision) -> None:
        self.teacher = teacher.to(pick_device()).eval()
        self.similarity = similarity
        self.precision = precision
        self.cross: Callable[[Sequence[tuple[str, Product]]], NDArray[np.float32]] = self._cross_by_torch

    def __call__(self, pairs: Sequence[tuple[str, Product]]) -> NDArray[np.float32]:
        """Logits of pairs."""
        cross = self.cross(pairs)
        features = torch.from_numpy(self.similarity.features(pairs)).to(pick_device())
        with torch.inference_mode():
            shortcut: NDArray[np.float32] = self.teacher.shortcut(features)[:, 0].cpu().numpy()
        return cross + shortcut

    def _cross_by_torch(self, pairs: Sequence[tuple[str, Product]]) -> NDArray[np.float32]:
        return self.teacher.cross_encoder.logits(pairs, self.precision)


def human_pairs(run: Run) -> list[JudgedPair]:
    """The judged pairs of the training split."""
    pairs = [pair for pair in read_all_judgements(run.data, run.config.data) if pair.split == "train"]
    if not pairs:
        raise TrainingError("the judgements have no pairs in the split train: nothing to fine-tune the teacher on")
    if len({pair.target for pair in pairs}) == 1:
        raise TrainingError(
            f"the {len(pairs)} judged training pairs all have the target {pairs[0].target:g}: nothing to learn"
        )
    return pairs


def similarity_of(run: Run) -> Similarity:
    """The similarity of a run: its sentence encoder over the fields that the teacher reads."""
    encoder = SentenceEncoder(run.config.encoder, run.config.teacher.fit.precision)
    return Similarity(encoder, run.config.teacher.template)


def fit_similarity(run: Run, similarity: Similarity) -> SimilarityLabeller:
    """The similarity as a labeller, fitted on the human grades of the training split."""
    pairs = human_pairs(run)
    weights, bias = fit_logistic(_features(similarity, pairs), _targets(pairs))
    return SimilarityLabeller(similarity, weights, bias)


def _targets(pairs: Sequence[JudgedPair]) -> NDArray[np.float32]:
    return np.asarray([pair.target for pair in pairs], np.float32)


def _features(similarity: Similarity, pairs: Sequence[JudgedPair]) -> NDArray[np.float32]:
    """Similarity features of judged pairs, shape (n, 2), computed in parts to show progress."""
    parts = []
    with tqdm(total=len(pairs), desc="encode judgements", unit="pair", mininterval=2, dynamic_ncols=True) as progress:
        for start in range(0, len(pairs), ENCODED_TOGETHER):
            part = [(pair.query, pair.product) for pair in pairs[start : start + ENCODED_TOGETHER]]
            parts.append(similarity.features(part))
            progress.update(len(part))
    return np.concatenate(parts)


def train_teacher(run: Run) -> bool:
    """Fine-tunes the teacher and writes its checkpoint.

    Returns:
        Whether there was anything to do.
    """
    if (run.teacher / SHORTCUT_FILE).exists():
        return False
    settings = run.config.teacher
    torch.manual_seed(run.config.seed)
    pairs = human_pairs(run)
    similarities = _features(similarity_of(run), pairs)
    cross_encoder = CrossEncoder.create(settings.model, settings.template, run.work("teacher"))
    teacher = Teacher(cross_encoder, *fit_logistic(similarities, _targets(pairs)))

    encoded = cross_encoder.encode([(pair.query, pair.product) for pair in pairs])
    features, targets = torch.from_numpy(similarities), torch.from_numpy(_targets(pairs))
    device = pick_device()
    batch_pairs = min(settings.fit.batch_pairs, len(pairs))

    def step_loss(step: int) -> Tensor:
        picked = shuffled_batch(step, batch_pairs, len(pairs), run.config.seed)
        logits = teacher([encoded[i] for i in picked], features[picked].to(device))
        return soft_target_loss(logits, targets[picked].to(device))

    steps = math.ceil(len(pairs) // batch_pairs * settings.fit.epochs)
    fit(teacher, step_loss, steps, settings.fit, run.work("teacher"), run.config.seed, "teacher")
    cross_encoder.save(run.teacher)
    shortcut = {"weights": teacher.shortcut.weight[0].tolist(), "bias": teacher.shortcut.bias.item()}
    write_json(run.teacher / SHORTCUT_FILE, shortcut)
    return True


def read_teacher(run: Run, similarity: Similarity) -> TeacherLabeller:
    """The finished teacher of a run.

    Raises:
        TrainingError: it is not finished.
    """
    path: Path = run.teacher / SHORTCUT_FILE
    if not path.exists():
        raise TrainingError(f"{run.folder}: has no finished teacher; run the stage `teacher` first")
    shortcut = read_json(path)
    teacher = Teacher(CrossEncoder.read(run.teacher), shortcut["weights"], shortcut["bias"])
    return TeacherLabeller(teacher, similarity, run.config.teacher.fit.precision)

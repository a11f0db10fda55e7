"""The teacher: a sequence classifier with a similarity shortcut, and what reads a finished one.

outputs = classifier(query, product) + W (cosine, MaxSim) + b. The classifier's head starts at zero and W, b at the best
fit of the similarities, so that the teacher starts as good as they are and fine-tuning adds to that. With a few
thousand human labels a small cross-encoder without the shortcut ends below them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from artifact import Product

from ..config import Precision
from ..cross_encoder import TEMPLATE_FILE, CrossEncoder, EncodedPair
from ..device import pick_device
from ..errors import TrainingError
from ..runs import Run, read_json
from .classifier import CLASSIFIER_FILE, TextClassifier
from .head import Head
from .inputs import Encoded
from .judged import Judged, similarities
from .similarity import CACHE_BYTES, FEATURES, SentenceEncoder, Similarity, SimilarityLabeller, fit_logistic

__all__ = [
    "TEACHER_FILE",
    "Teacher",
    "TeacherLabeller",
    "fit_similarity",
    "read_teacher",
    "similarity_of",
]

TEACHER_FILE = "teacher.json"
"""Stands where a teacher is finished."""


class Teacher(nn.Module):
    """A classifier plus, where there is one, a linear layer over the similarity features of a pair."""

    def __init__(self, cross_encoder: CrossEncoder | TextClassifier, head: Head, shortcut: nn.Linear | None) -> None:
        super().__init__()
        self.cross_encoder = cross_encoder
        self.head = head
        self.shortcut = shortcut

    def forward(
        self, pairs: Sequence[EncodedPair] | Sequence[Encoded], features: Tensor | None, chunk: int = 32
    ) -> Tensor:
        """Outputs of pairs, shape (pairs, head.size); `features` has shape (pairs, 2), None without a shortcut."""
        outputs: Tensor = self.cross_encoder(pairs, chunk)
        return self.complete(outputs[:, None] if outputs.ndim == 1 else outputs, features)

    def complete(self, outputs: Tensor, features: Tensor | None) -> Tensor:
        """The classifier's outputs, shape (pairs, head.size), with the shortcut's added."""
        if self.shortcut is None or features is None:
            return outputs
        shortcut: Tensor = self.shortcut(features.float()).float()
        return outputs + shortcut


class TeacherLabeller:
    """A finished teacher as a function from text pairs to calibrated logits, shape (n,).

    `cross` gives the classifier's outputs, shape (n,) or (n, head.size); another engine of the same weights may take
    its place.
    """

    def __init__(
        self, teacher: Teacher, similarity: Similarity, precision: Precision, temperature: float = 1.0
    ) -> None:
        self.teacher = teacher.to(pick_device()).eval()
        self.similarity = similarity
        self.precision = precision
        self.temperature = temperature
        self.cross: Callable[[Sequence[tuple[str, Product]]], NDArray[np.float32]] = self._cross_by_torch

    def __call__(self, pairs: Sequence[tuple[str, Product]]) -> NDArray[np.float32]:
        """Logits of pairs."""
        if not pairs:
            return np.empty(0, np.float32)
        device, head = pick_device(), self.teacher.head
        outputs = torch.from_numpy(self.cross(pairs)).to(device).reshape(len(pairs), head.size)
        features = None
        if self.teacher.shortcut is not None:
            features = torch.from_numpy(self.similarity.features(pairs)).to(device)
        with torch.inference_mode():
            whole = self.teacher.complete(outputs, features)
            logits: NDArray[np.float32] = head.logit(whole / self.temperature).cpu().numpy()
        return logits

    def _cross_by_torch(self, pairs: Sequence[tuple[str, Product]]) -> NDArray[np.float32]:
        return self.teacher.cross_encoder.logits(pairs, self.precision)


def similarity_of(run: Run, cache_bytes: int = CACHE_BYTES) -> Similarity:
    """The similarity of a run: its sentence encoder, with such a cache, over the fields that the teacher reads."""
    encoder = SentenceEncoder(run.config.encoder, run.config.teacher.fit.precision, cache_bytes=cache_bytes)
    return Similarity(encoder, run.config.teacher.template)


def fit_similarity(run: Run, similarity: Similarity) -> SimilarityLabeller:
    """The similarity as a labeller, fitted on the human grades of the training split."""
    judged = Judged.read(run)
    weights, bias = fit_logistic(similarities(similarity, judged), judged.targets)
    return SimilarityLabeller(similarity, weights, bias)


def read_teacher(run: Run, similarity: Similarity) -> TeacherLabeller:
    """The finished teacher of a run.

    Raises:
        TrainingError: it is not finished, or a file of it is damaged.
    """
    path = run.teacher / TEACHER_FILE
    if not path.exists():
        raise TrainingError(f"{run.folder}: has no finished teacher; run the stage `teacher` first")
    record = read_json(path)
    try:
        head = Head(None if record["levels"] is None else tuple(float(level) for level in record["levels"]))
        shortcut = _shortcut(record["shortcut"], head)
        temperature = float(record["temperature"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"{path}: damaged; delete its folder and run the stage `teacher` again") from error
    classifier: CrossEncoder | TextClassifier
    if (run.teacher / CLASSIFIER_FILE).exists() or not (run.teacher / TEMPLATE_FILE).exists():
        classifier = TextClassifier.read(run.teacher)
        if not classifier.record["bf16"]:  # in bfloat16 the sum would lose the adapters' last digits
            classifier.merge()
    else:
        classifier = CrossEncoder.read(run.teacher)
    teacher = Teacher(classifier, head, shortcut)
    return TeacherLabeller(teacher, similarity, run.config.teacher.fit.precision, temperature)


def _shortcut(record: dict[str, list[list[float]]] | None, head: Head) -> nn.Linear | None:
    if record is None:
        return None
    layer = nn.Linear(FEATURES, head.size)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(record["weights"]).reshape(head.size, FEATURES))
        layer.bias.copy_(torch.tensor(record["bias"]).reshape(head.size))
    return layer

"""The untrained similarity of a query and a product: cosine and MaxSim of a frozen sentence encoder.

It gives the weak labels that a student starts from, the shortcut of the teacher, and dense candidates for mining.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from artifact import InputTemplate, Product

from ..config import Precision
from ..device import autocast, pick_device
from ..losses import soft_target_loss
from ..pretrained import load

Pair = tuple[str, Product]
FEATURES = 2


@dataclass(frozen=True, slots=True)
class Encoding:
    """A text's mean-pooled unit vector, shape (width,), and its unit token states, shape (tokens, width): float16."""

    vector: NDArray[np.float16]
    tokens: NDArray[np.float16]


CACHE_BYTES = 512 << 20
OVERHEAD_BYTES = 1024
"""Of a cached encoding beside its arrays: the text, the objects, the entry."""


class SentenceEncoder:
    """A frozen sentence encoder with a cache of encodings; beyond `cache_bytes` the oldest are dropped."""

    def __init__(self, model: str, precision: Precision, max_tokens: int = 96, cache_bytes: int = CACHE_BYTES) -> None:
        self._tokenizer = load(AutoTokenizer, model)
        self._device = pick_device()
        self._model = load(AutoModel, model).to(self._device).eval()
        self._precision = precision
        self._max_tokens = max_tokens
        self._cache: dict[str, Encoding] = {}
        self._cache_bytes = cache_bytes
        self._cached_bytes = 0

    def encode(self, texts: Sequence[str], batch: int = 64) -> list[Encoding]:
        """Encodings of texts, in their order."""
        while self._cached_bytes > self._cache_bytes:
            self._cached_bytes -= _size(self._cache.pop(next(iter(self._cache))))
        new = sorted({text for text in texts if text not in self._cache}, key=len)
        for start in range(0, len(new), batch):
            for text, encoding in zip(new[start:], self._encode_batch(new[start : start + batch]), strict=False):
                self._cache[text] = encoding
                self._cached_bytes += _size(encoding)
        return [self._cache[text] for text in texts]

    def vectors(self, texts: Sequence[str], batch: int = 64) -> NDArray[np.float32]:
        """Unit vectors of texts, shape (texts, width), without filling the cache."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        result: list[NDArray[np.float16]] = [np.empty(0, np.float16)] * len(texts)
        for start in range(0, len(order), batch):
            indices = order[start : start + batch]
            for i, encoding in zip(indices, self._encode_batch([texts[i] for i in indices]), strict=True):
                result[i] = encoding.vector
        return np.stack(result).astype(np.float32)

    @torch.no_grad()
    def _encode_batch(self, texts: list[str]) -> list[Encoding]:
        batch = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._device)
        with autocast(self._device, self._precision):
            states = self._model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][:, :, None].float()
        vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)
        tokens = torch.nn.functional.normalize(states, dim=-1)
        lengths = batch["attention_mask"].sum(1).tolist()
        return [
            # first and last are [CLS] and [SEP]; a text without a token of its own keeps them. Copies, for a view
            # would keep the whole batch in memory.
            Encoding(vector.copy(), (row[1 : length - 1] if length > 2 else row[:length]).copy())
            for vector, row, length in zip(_half(vectors), _half(tokens), lengths, strict=True)
        ]


class Similarity:
    """Features of pairs, shape (n, 2): cosine of the pooled vectors; MaxSim, the mean over query tokens of the best
    product token's cosine (Khattab and Zaharia, ColBERT, SIGIR 2020, divided by the query's length)."""

    def __init__(self, encoder: SentenceEncoder, template: InputTemplate) -> None:
        self.encoder = encoder
        self.template = template

    def product_text(self, product: Product) -> str:
        """A product's fields in template order as one text."""
        return ". ".join(text for text, _ in self.template.render_product(product))

    def features(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """Cosine and MaxSim of each pair, shape (n, 2)."""
        texts = [self.product_text(product) for _, product in pairs]
        encodings = self.encoder.encode([*(query for query, _ in pairs), *texts])
        result = np.empty((len(pairs), FEATURES), dtype=np.float32)
        for i in range(len(pairs)):
            query, product = encodings[i], encodings[len(pairs) + i]
            result[i, 0] = np.dot(query.vector.astype(np.float32), product.vector.astype(np.float32))
            cosines = query.tokens.astype(np.float32) @ product.tokens.astype(np.float32).T
            result[i, 1] = cosines.max(axis=1).mean() if cosines.size else 0.0
        return result


@dataclass(frozen=True)
class SimilarityLabeller:
    """Similarity features to a logit: weights . features + bias, fitted on soft targets of human grades."""

    similarity: Similarity
    weights: tuple[float, ...]
    bias: float

    def __call__(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """Logits of pairs, shape (n,)."""
        features = self.similarity.features(pairs)
        return np.asarray(features @ np.asarray(self.weights, np.float32) + np.float32(self.bias), dtype=np.float32)


def fit_logistic(features: NDArray[np.float32], targets: NDArray[np.float32]) -> tuple[tuple[float, ...], float]:
    """Logistic regression on soft targets by L-BFGS, on standardised features with a small ridge.

    Returns:
        Weights, one per feature, and the bias.
    """
    mean, spread = features.mean(0), features.std(0) + 1e-6
    x = torch.from_numpy((features - mean) / spread)
    y = torch.from_numpy(targets)
    weights = torch.zeros(x.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = soft_target_loss(x @ weights + bias, y) + 1e-3 * weights.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    raw = weights.detach().numpy() / spread
    return tuple(float(w) for w in raw), float(bias.detach()) - float(raw @ mean)


def _size(encoding: Encoding) -> int:
    return encoding.tokens.nbytes + encoding.vector.nbytes + OVERHEAD_BYTES


def _half(states: torch.Tensor) -> NDArray[np.float16]:
    return states.to(torch.float16).cpu().numpy()

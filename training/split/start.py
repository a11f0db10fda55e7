"""What a split student starts from: its product encoder shortened, its projection and its shortcuts fitted."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from artifact import PairTokenizer
from artifact.tokenisation import TokenIds

from .. import parallel
from ..config import Split, Student
from ..cross_encoder import TEMPLATE_FILE
from ..device import autocast, pick_device
from ..token_store import TokenStore
from .encoder import TextEncoder, own_states
from .interaction import SHORTCUTS, Interaction
from .model import SplitStudent
from .shorten import shorten
from .states import encode

SAMPLE_TEXTS = 4_000
"""Texts by which the projection is chosen."""

SAMPLE_LISTS = 200
"""Labelled lists by which the shortcuts are fitted."""


def start_split(
    settings: Student,
    split: Split,
    store: TokenStore,
    tokenizer: PairTokenizer,
    tokenizer_path: Path,
    work: Path,
    seed: int,
) -> SplitStudent:
    """A student that has learnt nothing but to be itself: as good as the sentence encoder's cosine and MaxSim.

    Goes on where an earlier call was stopped; a finished start is read from `work`.

    Args:
        settings: of the student.
        split: of them, those of a split one.
        store: lists of its first stage, in the student's tokens.
        tokenizer: of both encoders.
        tokenizer_path: its file.
        work: folder of the start and of what leads to it.
        seed: of the order of texts.

    Raises:
        TrainingError: a model cannot be loaded or has not the layers that are asked for, or training fails.
    """
    done = work / "start"
    unfinished = [work / name for name in ("shorten", "shorten-query")]
    if (done / TEMPLATE_FILE).exists():
        _remove(unfinished)
        return SplitStudent.read(done)
    whole = TextEncoder.create(settings.init)
    texts = _texts(store)
    product_encoder = _encoder(settings, split, whole, settings.layers, tokenizer, texts, work / "shorten", seed)
    query_encoder = product_encoder
    if split.query_layers is not None:
        own = work / "shorten-query"
        query_encoder = _encoder(settings, split, whole, split.query_layers, tokenizer, texts, own, seed)
    random = np.random.default_rng(seed)
    picked = random.choice(len(texts), min(SAMPLE_TEXTS, len(texts)), replace=False)
    product_encoder.to(pick_device()).eval()
    sample = [texts[i] for i in np.sort(picked)]
    states = torch.cat([own_states(each) for each in encode(product_encoder, tokenizer, sample, "auto")]).cpu()
    # Anew: what training has drawn by here depends on where it was stopped.
    torch.manual_seed(seed)
    layers, basis = whole.some_layers(split.interaction_layers), _basis(states, split.state_width)
    interaction = Interaction(layers, basis, float(states.norm(dim=-1).mean()), whole.width)
    student = SplitStudent(query_encoder, product_encoder, interaction, split.shape(), tokenizer, tokenizer_path)
    fit_shortcuts(student, store)
    parallel.by_main(partial(student.save, done))
    _remove(unfinished)
    return student


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _encoder(
    settings: Student,
    split: Split,
    whole: TextEncoder,
    layers: Sequence[int],
    tokenizer: PairTokenizer,
    texts: Sequence[TokenIds],
    folder: Path,
    seed: int,
) -> TextEncoder:
    """The encoder of these layers: the whole one where they are all of its own, else a shorter one, taught if asked."""
    if [*layers] == [*range(whole.layers)]:
        return whole
    short = TextEncoder.create(settings.init, layers)
    if split.shorten is not None:
        shorten(short, whole, tokenizer, texts, split.shorten, folder, seed)
    return short


def fit_shortcuts(student: SplitStudent, store: TokenStore) -> None:
    """Sets the weights of cosine and MaxSim and the bias to those nearest to the labels (logits), by least squares."""
    rows, labels = [], []
    with torch.no_grad(), autocast(pick_device(), "auto"):
        student.eval().to(pick_device())
        kept = torch.tensor([float(each in student.shape.shortcuts) for each in SHORTCUTS], device=pick_device())
        for i in range(min(SAMPLE_LISTS, store.lists)):
            example = store[i]
            rows.append(student.shortcuts(example.pairs) * kept)
            labels.append(torch.tensor(example.labels))
        features = torch.cat(rows).double().cpu()
        design = torch.cat([features, torch.ones(len(features), 1, dtype=torch.float64)], dim=1)
        wanted = torch.cat(labels).double()[:, None]
        # Two features that go together: a little ridge keeps either from a weight below 0.
        ridge = 1e-3 * len(design) * torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
        found = torch.linalg.solve(design.T @ design + ridge, design.T @ wanted).squeeze(1).float()
        shortcut: Any = student.interaction.shortcut
        shortcut.weight.copy_(found[None, :-1])
        shortcut.bias.copy_(found[-1:])


def _texts(store: TokenStore) -> list[TokenIds]:
    """The distinct queries and products of all lists, in order of appearance."""
    seen: dict[bytes, TokenIds] = {}
    for i in range(store.lists):
        pairs = store[i].pairs
        for text in (pairs[0][0], *(product for _, product in pairs)):
            seen.setdefault(text.tobytes(), text)
    return [text for text in seen.values() if len(text)]


def _basis(states: Tensor, width: int | None) -> Tensor | None:
    """Orthonormal rows, (width, states' width), that keep most of the unit states, (tokens, width); None: all.

    Not centred: it is inner products that are to be kept.
    """
    if width is None or width >= states.shape[1]:
        return None
    units = torch.nn.functional.normalize(states, dim=-1)
    directions: Tensor = torch.linalg.svd(units.T @ units)[2]
    return directions[:width].contiguous()

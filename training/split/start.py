"""What a split student starts from: its product encoder shortened, its projection and its shortcuts fitted."""

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
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
from .shared import Shared
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
    shared: Shared | None = None,
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
        shared: has, or gets, its shortened encoders for other students too; None: they stand in `work` until it is
            finished.

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
    make = partial(_encoder, settings, split, whole, tokenizer, texts, seed, shared)
    product_encoder = make(settings.layers, work / "shorten")
    query_encoder = product_encoder
    if split.query_layers is not None:
        query_encoder = make(split.query_layers, work / "shorten-query")
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
    tokenizer: PairTokenizer,
    texts: Sequence[TokenIds],
    seed: int,
    shared: Shared | None,
    layers: Sequence[int],
    folder: Path,
) -> TextEncoder:
    """The encoder of these layers: the whole one where they are all of its own, else a shorter one, taught if asked."""
    if [*layers] == [*range(whole.layers)]:
        return whole
    short = TextEncoder.create(settings.init, layers)
    if split.shorten is not None:
        place: AbstractContextManager[Path] = nullcontext(folder)
        if shared is not None:
            made_from = (settings.init, [*layers], split.shorten.model_dump_json(), seed, _digest(texts))
            place = shared.place("shorter", *map(str, made_from))
        with place as own:
            shorten(short, whole, tokenizer, texts, split.shorten, own, seed)
    return short


def _digest(texts: Sequence[TokenIds]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(len(text).to_bytes(4, "big") + text.tobytes())
    return digest.hexdigest()


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

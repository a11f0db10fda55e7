"""A shorter encoder: a few layers of the sentence encoder, taught to give the states of all of them.

A product that nobody has seen costs its encoder's layers online, and half as many layers make it half as dear.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from artifact import PairTokenizer
from artifact.tokenisation import TokenIds

from ..config import Optimisation
from ..cross_encoder import drop_nothing
from ..errors import TrainingError
from ..loop import fit, shuffled_batch
from ..parallel import processes, share
from .encoder import TextEncoder, pooled

LABEL = "shorter encoder"


def shorten(
    short: TextEncoder,
    whole: TextEncoder,
    tokenizer: PairTokenizer,
    texts: Sequence[TokenIds],
    settings: Optimisation,
    folder: Path,
    seed: int,
) -> None:
    """Trains `short` in place towards the states of `whole`, going on where an earlier call was stopped.

    The loss of a text is the mean over its tokens of the squared distance between the unit states of both, plus that
    between their unit vectors.

    Args:
        short: usually some layers of `whole`.
        whole: left as it is.
        tokenizer: puts the special tokens around a text.
        texts: token ids, each text once.
        settings: `batch_pairs` counts texts.
        folder: gets the checkpoint.
        seed: of the order.

    Raises:
        TrainingError: there are too few texts, a gradient is not finite, or a checkpoint is damaged or cannot be
            written.
    """
    whole.eval()
    count = processes().count
    batch = min(settings.batch_pairs // count, len(texts) // count) * count
    if not batch:
        raise TrainingError(
            f"{len(texts)} texts in batches of {settings.batch_pairs} cannot be shared by {count} processes"
        )
    drop_nothing(short)

    def step_loss(step: int) -> Tensor:
        picked = [texts[i] for i in share(shuffled_batch(step, batch, len(texts), seed)).tolist()]
        with torch.no_grad():
            wanted = whole(picked, tokenizer)
        return state_distance(short(picked, tokenizer), wanted)

    steps = max(1, round(len(texts) // batch * settings.epochs))
    fit(short, step_loss, steps, settings, folder, seed, LABEL)


def state_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The loss of `shorten`, its mean over texts of shape (tokens, width) each; 0 to 8."""
    lengths = torch.tensor([len(states) for states in found], device=found[0].device)
    text = torch.repeat_interleave(torch.arange(len(found), device=lengths.device), lengths)
    cosines = torch.cosine_similarity(torch.cat(list(found)), torch.cat(list(wanted)), dim=-1)
    by_text = torch.zeros(len(found), device=cosines.device).index_add(0, text, 2 - 2 * cosines) / lengths
    vectors = torch.stack([pooled(states) for states in found]), torch.stack([pooled(states) for states in wanted])
    return (by_text + 2 - 2 * (vectors[0] * vectors[1]).sum(-1)).mean()

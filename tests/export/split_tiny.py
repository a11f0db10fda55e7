"""Tiny random split students, and what an export of them needs."""

from pathlib import Path

import torch
from transformers import BertModel

from artifact import PairTokenizer
from training.config import SplitShape
from training.split import SplitStudent
from training.split.encoder import TextEncoder
from training.split.interaction import Interaction

from .tiny import TEMPLATE, tiny_config, write_checkpoint

SHAPES: dict[str, dict[str, object]] = {
    "two layers": {"layers": 2},
    "three layers": {"layers": 3},
    "one layer": {"layers": 1},
    "no layers": {"layers": 0},
    "a shared encoder": {"shared": True},
    "no projection": {"state_width": None},
    "three layers, no projection, a shared encoder": {"layers": 3, "state_width": None, "shared": True},
    "the cosine alone": {"shortcuts": ("cosine",)},
    "MaxSim alone, no layers": {"layers": 0, "shortcuts": ("maxsim",)},
}


def write_split(
    folder: Path,
    layers: int = 2,
    state_width: int | None = 16,
    shared: bool = False,
    shortcuts: tuple[str, ...] = ("cosine", "maxsim"),
) -> Path:
    """Writes the checkpoint folder of a student of random weights, the product encoder one layer shorter."""
    tokenizer_path = write_checkpoint(folder / "tokens") / "tokenizer.json"
    torch.manual_seed(5)
    query = TextEncoder(
        BertModel(tiny_config(num_hidden_layers=2, attn_implementation="eager"), add_pooling_layer=False)
    )
    product = query
    if not shared:
        product = TextEncoder(
            BertModel(tiny_config(num_hidden_layers=1, attn_implementation="eager"), add_pooling_layer=False)
        )
    basis = None if state_width is None else torch.linalg.qr(torch.randn(32, state_width))[0].T.contiguous()
    interaction = Interaction(query.some_layers([0]) * layers, basis, 3.0, 32)
    with torch.no_grad():  # biases and heads start at zero, layers alike; a graph that drops one would pass unseen
        for module in (query, product, interaction):
            for name, parameter in module.named_parameters():
                if name != "projection.weight":
                    parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.ndim == 1 else 0.1))
    shape = SplitShape(interaction_layers=(0,) * layers, state_width=state_width, shortcuts=shortcuts)
    tokenizer = PairTokenizer(tokenizer_path, TEMPLATE)
    SplitStudent(query, product, interaction, shape, tokenizer, tokenizer_path).save(folder / "student")
    return folder / "student"

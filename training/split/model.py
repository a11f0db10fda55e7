"""The split student as training, evaluation and export see it: text pairs to logits, and a checkpoint folder."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from artifact import PairTokenizer, Product
from artifact.tokenisation import TokenIds

from .. import parallel
from ..config import Precision, SplitShape
from ..cross_encoder import TEMPLATE_FILE, EncodedPair, encode_pairs, read_template
from ..device import autocast, pick_device
from ..errors import TrainingError
from ..pretrained import TOKENIZER_FILE
from ..runs import read_json, write_json
from ..token_store import TokenStore
from .encoder import TextEncoder, own_states, pooled
from .interaction import Interaction, Texts
from .shared import Shared
from .states import FrozenStates, encoder_digest

SHAPE_FILE = "split.json"
INTERACTION_FILE = "interaction.safetensors"
QUERY_FOLDER, PRODUCT_FOLDER = "query_encoder", "product_encoder"

Side = Literal["query", "product"]

CHUNK = 64
"""Pairs that are padded and computed together."""


class SplitStudent(nn.Module):
    """Two encoders and the interaction, with tokeniser and input template.

    A saved folder holds a Hugging Face checkpoint of either encoder, `interaction.safetensors`, `split.json`,
    `tokenizer.json` and `template.json`.

    Args:
        query_encoder: of queries.
        product_encoder: of products; may be the same one.
        interaction: of both.
        shape: what `split.json` says.
        tokenizer: of both encoders.
        tokenizer_path: its file.
    """

    def __init__(
        self,
        query_encoder: TextEncoder,
        product_encoder: TextEncoder,
        interaction: Interaction,
        shape: SplitShape,
        tokenizer: PairTokenizer,
        tokenizer_path: Path,
    ) -> None:
        super().__init__()
        self.query_encoder = query_encoder
        self.product_encoder = product_encoder
        self.interaction = interaction
        self.shape = shape
        self.tokenizer = tokenizer
        self.tokenizer_path = tokenizer_path
        interaction.keep_shortcuts(shape.shortcuts)
        self._known: dict[Side, FrozenStates] = {}

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a folder written by `save`."""
        path = folder / TEMPLATE_FILE
        if not path.exists():
            raise TrainingError(f"{folder}: expected a checkpoint of a finished stage, found no {TEMPLATE_FILE}")
        shape = SplitShape.model_validate(read_json(folder / SHAPE_FILE))
        query = TextEncoder.create(str(folder / QUERY_FOLDER))
        shared = not (folder / PRODUCT_FOLDER).exists()
        product = query if shared else TextEncoder.create(str(folder / PRODUCT_FOLDER))
        layer = query.some_layers([0])
        basis = None if shape.state_width in (None, query.width) else torch.zeros(shape.state_width, query.width)
        interaction = Interaction(layer * len(shape.interaction_layers), basis, 1.0, query.width)
        try:
            interaction.load_state_dict(load_file(folder / INTERACTION_FILE))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise TrainingError(f"{folder / INTERACTION_FILE}: cannot be read: {error}") from error
        tokenizer = PairTokenizer(folder / TOKENIZER_FILE, read_template(path))
        return cls(query, product, interaction, shape, tokenizer, folder / TOKENIZER_FILE)

    def save(self, folder: Path) -> None:
        """Writes the checkpoint folder; the template comes last and whole, so that where it stands all of it does."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.query_encoder.save(folder / QUERY_FOLDER)
            if self.product_encoder is not self.query_encoder:
                self.product_encoder.save(folder / PRODUCT_FOLDER)
            weights = {
                name: tensor.detach().cpu().contiguous() for name, tensor in self.interaction.state_dict().items()
            }
            save_file(weights, folder / INTERACTION_FILE)
        except SafetensorError as error:
            raise TrainingError(f"{folder}: cannot write the weights: {error}") from error
        write_json(folder / SHAPE_FILE, self.shape.model_dump(mode="json"))
        (folder / TOKENIZER_FILE).write_bytes(self.tokenizer_path.read_bytes())
        write_json(folder / TEMPLATE_FILE, self.tokenizer.template.model_dump(mode="json"))

    def drop_nothing(self) -> None:
        """Turns every dropout off. There is none."""

    def freeze(self, folder: Path, store: TokenStore, precision: Precision, shared: Shared | None = None) -> None:
        """Keeps both encoders as they are, and computes the states of the store's texts once.

        Args:
            folder: gets the states, or has some from an earlier call with the same encoders.
            store: the lists that follow.
            precision: of the encoders' arithmetic.
            shared: takes the states in place of the folder.

        Raises:
            TrainingError: the folder cannot be written.
        """
        lists = range(store.lists)
        sides: tuple[tuple[Side, TextEncoder, Iterable[TokenIds]], ...] = (
            ("query", self.query_encoder, (store[i].pairs[0][0] for i in lists)),
            ("product", self.product_encoder, (product for i in lists for _, product in store[i].pairs)),
        )
        for side, encoder, texts in sides:
            encoder.requires_grad_(False)
            known = [*{text.tobytes(): text for text in texts}.values()]
            label = f"states of {side} texts"
            place: AbstractContextManager[Path] = nullcontext(folder / side)
            if shared is not None:
                place = shared.place(f"states-{side}", store.key, precision, encoder_digest(encoder))
            with place as own:
                build = partial(FrozenStates.build, own, encoder, self.tokenizer, known, store.key, precision, label)
                parallel.by_main(build)
                self._known[side] = build()

    def forward(self, pairs: Sequence[EncodedPair], chunk: int = CHUNK) -> Tensor:
        """Logits, shape (pairs,), in the order given; run in chunks sorted by length so that little is padding."""
        return self._joined(pairs, chunk, self.interaction)

    def shortcuts(self, pairs: Sequence[EncodedPair], chunk: int = CHUNK) -> Tensor:
        """Cosine and MaxSim of pairs, shape (pairs, 2)."""
        return self._joined(pairs, chunk, self.interaction.shortcuts)

    def _joined(
        self, pairs: Sequence[EncodedPair], chunk: int, join: Callable[[Texts, Texts, Tensor], Tensor]
    ) -> Tensor:
        queries, query_of = _distinct([query for query, _ in pairs])
        products, product_of = _distinct([product for _, product in pairs])
        query_states = self._states("query", queries)
        product_states = self._states("product", products)
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][1]))
        found = []
        for start in range(0, len(order), chunk):
            rows = order[start : start + chunk]
            used, which = np.unique([query_of[i] for i in rows], return_inverse=True)
            query_side = self._padded([query_states[i] for i in used])
            product_side = self._product_side([product_states[product_of[i]] for i in rows])
            device = query_side.states.device
            found.append(join(query_side, product_side, torch.from_numpy(which).to(device)))
        inverse = torch.empty(len(order), dtype=torch.long)
        inverse[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(found)[inverse.to(found[0].device)]

    @torch.inference_mode()
    def logits(self, pairs: Sequence[tuple[str, Product]], precision: Precision = "fp32") -> NDArray[np.float32]:
        """Logits of text pairs, shape (pairs,), in evaluation mode."""
        if not pairs:
            return np.empty(0, np.float32)
        self.eval().to(pick_device())
        with autocast(pick_device(), precision):
            parts = [
                self(self.encode(pairs[start : start + 1024])).cpu().numpy() for start in range(0, len(pairs), 1024)
            ]
        return np.concatenate(parts)

    def encode(self, pairs: Sequence[tuple[str, Product]]) -> list[EncodedPair]:
        """Token ids of queries and products, each distinct query encoded once."""
        return encode_pairs(self.tokenizer, pairs)

    def _states(self, side: Side, texts: Sequence[TokenIds]) -> list[tuple[Tensor, Tensor]]:
        """States of all tokens and vector of each text."""
        encoder = self.query_encoder if side == "query" else self.product_encoder
        known = self._known.get(side)
        if known is not None and all(text in known for text in texts):
            device = next(self.interaction.parameters()).device
            return [(states.to(device), vector.to(device)) for states, vector in map(known.get, texts)]
        return [(states, pooled(states)) for states in encoder(texts, self.tokenizer)]

    def _padded(self, texts: Sequence[tuple[Tensor, Tensor]]) -> Texts:
        states = pad_sequence([states for states, _ in texts], batch_first=True)
        lengths = torch.tensor([len(states) for states, _ in texts], device=states.device)
        present = torch.arange(states.shape[1], device=states.device)[None, :] < lengths[:, None]
        return Texts(states, present, torch.stack([vector for _, vector in texts]))

    def _product_side(self, texts: Sequence[tuple[Tensor, Tensor]]) -> Texts:
        found = self._padded([(own_states(states), vector) for states, vector in texts])
        return Texts(self.interaction.product_states(found.states), found.present, found.pooled)


def _distinct(texts: Sequence[TokenIds]) -> tuple[list[TokenIds], list[int]]:
    """The distinct texts, and which of them each one is."""
    rows: dict[bytes, int] = {}
    which = [rows.setdefault(text.tobytes(), len(rows)) for text in texts]
    return [np.frombuffer(text, np.int64) for text in rows], which

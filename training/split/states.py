"""States of texts under a frozen encoder, computed once and memory-mapped: training costs the interaction alone."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from artifact import PairTokenizer
from artifact.tokenisation import TokenIds

from ..config import Precision
from ..device import autocast, pick_device
from ..errors import TrainingError
from ..runs import read_json, write_json
from .encoder import TextEncoder, pooled

TEXTS_PER_STEP = 512
KEY_FILE = "key.json"
_FILES = {"states": np.float16, "pooled": np.float16, "ends": np.int64}


class FrozenStates:
    """States of every token, special ones included, and the vector of each distinct text.

    Memory: an entry of a dictionary for each distinct text, about 150 bytes; the states stay on disk, of which each
    token takes twice the encoder's width in bytes.
    """

    def __init__(self, folder: Path, width: int, texts: dict[bytes, int]) -> None:
        self._arrays: dict[str, NDArray[np.generic]] = {
            "states": np.memmap(folder / "states", np.float16, "r").reshape(-1, width),
            "pooled": np.memmap(folder / "pooled", np.float16, "r").reshape(-1, width),
            "ends": np.memmap(folder / "ends", np.int64, "r"),
        }
        self._texts = texts

    @classmethod
    def build(
        cls,
        folder: Path,
        encoder: TextEncoder,
        tokenizer: PairTokenizer,
        texts: Iterable[TokenIds],
        key: str,
        precision: Precision,
        label: str,
    ) -> "FrozenStates":
        """Opens the states of these texts, computing those that the folder lacks.

        Args:
            folder: of the states.
            encoder: left as it is.
            tokenizer: puts the special tokens around a text.
            texts: token ids, in any number of copies; the order of first copies must be the same in each call.
            key: changes with the texts. The encoder's weights are part of it in any case.
            precision: of the arithmetic.
            label: shown beside the progress bar.

        Raises:
            TrainingError: the folder cannot be written.
        """
        known: dict[bytes, int] = {}
        for text in texts:
            known.setdefault(text.tobytes(), len(known))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / KEY_FILE
            whole_key = f"{key} {encoder_digest(encoder)}"
            if not path.exists() or read_json(path).get("key") != whole_key:
                path.unlink(missing_ok=True)
                for name in _FILES:
                    (folder / name).write_bytes(b"")
                write_json(path, {"key": whole_key})
            _compute(folder, encoder, tokenizer, list(known), precision, label)
        except OSError as error:
            raise TrainingError(f"{folder}: cannot be written: {error.strerror}; make room and go on") from error
        return cls(folder, encoder.width, known)

    def __contains__(self, text: TokenIds) -> bool:
        return text.tobytes() in self._texts

    def get(self, text: TokenIds) -> tuple[Tensor, Tensor]:
        """States, (tokens, width), and vector, (width,), of a text that is there: float32."""
        row = self._texts[text.tobytes()]
        ends = self._arrays["ends"]
        states = self._arrays["states"][int(ends[row - 1]) if row else 0 : int(ends[row])]
        return torch.from_numpy(states.astype(np.float32)), torch.from_numpy(
            self._arrays["pooled"][row].astype(np.float32)
        )


def _compute(
    folder: Path, encoder: TextEncoder, tokenizer: PairTokenizer, texts: list[bytes], precision: Precision, label: str
) -> None:
    width = encoder.width
    done = _whole_texts(folder, width, len(texts))
    if done == len(texts):
        return
    encoder.to(pick_device()).eval()
    written = int(np.fromfile(folder / "ends", np.int64)[done - 1]) if done else 0
    left = [np.frombuffer(text, np.int64) for text in texts[done:]]
    with (
        tqdm(total=len(texts), initial=done, desc=label, unit="text", mininterval=2, dynamic_ncols=True) as progress,
        (folder / "states").open("ab") as states_file,
        (folder / "pooled").open("ab") as pooled_file,
        (folder / "ends").open("ab") as ends_file,
    ):
        for start in range(0, len(left), TEXTS_PER_STEP):
            group = left[start : start + TEXTS_PER_STEP]
            found = list(encode(encoder, tokenizer, group, precision))
            ends = written + np.cumsum([len(states) for states in found])
            written = int(ends[-1])
            states_file.write(torch.cat(found).to(torch.float16).cpu().numpy().tobytes())
            pooled_file.write(
                torch.stack([pooled(states) for states in found]).to(torch.float16).cpu().numpy().tobytes()
            )
            ends_file.write(ends.astype(np.int64).tobytes())
            progress.update(len(group))


def _whole_texts(folder: Path, width: int, wanted: int) -> int:
    """How many texts all three files hold; what goes beyond, of a process that was stopped, is cut off.

    Of those that are not yet done, whole steps count alone: a state's last bits depend on its batch.
    """
    ends = np.fromfile(folder / "ends", np.int64)
    in_states = int(np.searchsorted(ends, (folder / "states").stat().st_size // (2 * width), side="right"))
    whole = min(in_states, (folder / "pooled").stat().st_size // (2 * width))
    if whole < wanted:
        whole -= whole % TEXTS_PER_STEP
    sizes = {
        "states": 2 * width * (int(ends[whole - 1]) if whole else 0),
        "pooled": 2 * width * whole,
        "ends": 8 * whole,
    }
    for name, size in sizes.items():
        with (folder / name).open("r+b") as file:
            file.truncate(size)
    return whole


def encoder_digest(encoder: TextEncoder) -> str:
    """Changes with any weight."""
    digest = hashlib.sha256()
    for tensor in encoder.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def encode(
    encoder: TextEncoder, tokenizer: PairTokenizer, texts: Sequence[TokenIds], precision: Precision
) -> Iterator[Tensor]:
    """States of every token of each text, (tokens, width), float32."""
    with autocast(pick_device(), precision):
        yield from encoder(texts, tokenizer)

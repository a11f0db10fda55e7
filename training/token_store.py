"""Labelled lists as memory-mapped token ids: tokenised once, read a list at a time, however many there are."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from artifact import PairTokenizer
from artifact.tokenisation import TokenIds

from .errors import TrainingError
from .runs import read_json, write_json
from .tables import CandidateList, read_shard

DONE_FILE = "store.json"
_FILES = {"ids": np.uint32, "ends": np.int64, "labels": np.float32, "lists": np.int64}


@dataclass(frozen=True, slots=True)
class Example:
    """One list: (query, product) token ids of each pair, and the pairs' labels, shape (pairs,)."""

    pairs: list[tuple[TokenIds, TokenIds]]
    labels: NDArray[np.float32]


class TokenStore:
    """Lists of a stage on disk. A folder holds four flat files and, last of all, `store.json`.

    | file | content |
    |---|---|
    | `ids` | token ids of each list's query, then of its products |
    | `ends` | where each of those texts ends in `ids` |
    | `labels` | label of each product |
    | `lists` | where each list ends in `labels` |
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arrays = {name: np.memmap(folder / name, kind, "r") for name, kind in _FILES.items()}
        self.lists = len(self._arrays["lists"])
        self.pairs = len(self._arrays["labels"])

    @classmethod
    def build(
        cls,
        folder: Path,
        shards: Sequence[Path],
        tokenizer: PairTokenizer,
        label: Literal["logit", "target"],
        max_lists: int | None = None,
        fewest: int = 2,
        skip_lists: int = 0,
    ) -> Self:
        """Opens the store of these shards, making it first if the folder does not hold just that.

        Args:
            folder: of the store.
            shards: labelled shards, in order.
            tokenizer: of the student, with its template.
            label: the candidates' attribute that is learnt from.
            max_lists: so many lists, after those that are skipped; None: all.
            fewest: products that a list must have; shorter ones are left out. Margins need two.
            skip_lists: so many lists at the beginning are left out.

        Raises:
            TrainingError: a shard is damaged, a candidate lacks its label, or no list is long enough.
        """
        key = _key(shards, tokenizer, label, (skip_lists, max_lists, fewest))
        done = folder / DONE_FILE
        if not done.exists() or read_json(done).get("key") != key:
            done.unlink(missing_ok=True)
            _write(folder, _slice(_lists(shards, fewest), skip_lists, max_lists), tokenizer, label)
            write_json(done, {"key": key})
        return cls(folder)

    @property
    def key(self) -> str:
        """Changes with the lists and with how they are tokenised."""
        return str(read_json(self._folder / DONE_FILE)["key"])

    def __getitem__(self, index: int) -> Example:
        """One list, by its number."""
        ends, lists = self._arrays["ends"], self._arrays["lists"]
        first, last = (int(lists[index - 1]) if index else 0), int(lists[index])
        # every list before this one has a text more than it has products: its query
        texts = ends[max(0, first + index - 1) : last + index + 1].tolist()
        starts = texts if first + index else [0, *texts]
        ids = [self._arrays["ids"][a:b].astype(np.int64) for a, b in pairwise(starts)]
        return Example([(ids[0], product) for product in ids[1:]], np.asarray(self._arrays["labels"][first:last]))


def _key(shards: Sequence[Path], tokenizer: PairTokenizer, label: str, which: tuple[int | None, ...]) -> str:
    """Changes with the shards, the template, the vocabulary and what is taken of them."""
    parts = [
        [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in shards],
        tokenizer.template.model_dump(mode="json"),
        tokenizer.vocab_size,
        label,
        which,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _slice(lists: Iterator[CandidateList], skip: int, count: int | None) -> Iterator[CandidateList]:
    return islice(lists, skip, None if count is None else skip + count)


def _lists(shards: Sequence[Path], fewest: int) -> Iterator[CandidateList]:
    for path in tqdm(shards, desc="tokenise", unit="shard", mininterval=2, dynamic_ncols=True):
        for entry in read_shard(path):
            if len(entry.candidates) >= fewest:
                yield entry


def _write(
    folder: Path, lists: Iterator[CandidateList], tokenizer: PairTokenizer, label: Literal["logit", "target"]
) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_files(folder, lists, tokenizer, label)
    except BaseException as error:
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise TrainingError(f"{folder}: cannot be written: {error.strerror}; make room and go on") from error
        raise


def _write_files(
    folder: Path, lists: Iterator[CandidateList], tokenizer: PairTokenizer, label: Literal["logit", "target"]
) -> None:
    ids_end, pairs_end = 0, 0
    with ExitStack() as opened:
        files = {name: opened.enter_context((folder / name).open("wb")) for name in _FILES}
        for entry in lists:
            labels = [getattr(candidate, label) for candidate in entry.candidates]
            if None in labels:
                raise TrainingError(
                    f"list {entry.number} ({entry.query!r}) has candidates without a {label}; delete its shard and "
                    "label again"
                )
            products = tokenizer.encode_products([candidate.product for candidate in entry.candidates])
            texts = [tokenizer.encode_query(entry.query), *products]
            ends = ids_end + np.cumsum([len(text) for text in texts])
            ids_end, pairs_end = int(ends[-1]), pairs_end + len(products)
            for name, values in (
                ("ids", np.concatenate(texts)),
                ("ends", ends),
                ("labels", labels),
                ("lists", [pairs_end]),
            ):
                files[name].write(np.asarray(values, _FILES[name]).tobytes())
    if not pairs_end:
        raise TrainingError("there are no labelled lists with enough products: mine and label more queries")

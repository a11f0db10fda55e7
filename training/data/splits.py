"""When two queries count as the same, which split a query belongs to, and refusal of one that stands in both."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import TrainingError
from .schema import JudgedPair

TRAIN, TEST = "train", "test"
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")
_NO_PLURAL = ("ss", "us", "is")
_COMPACT_AT = 1 << 20


def normalise_query(query: str) -> str:
    """Letter case, punctuation, spacing and word order aside: what makes two queries the same for a split."""
    return " ".join(sorted(set(_words(query))))


def loose_key(query: str) -> str:
    """As `normalise_query`, and simple plurals and where the spaces stand aside too: "phone cases" and "phonecase".

    Queries that `normalise_query` takes for the same have the same loose key. A key that neither the order of words
    nor the spaces between them change can depend on nothing but the letters, so it is the letters, sorted, and the
    numbers; two anagrams ("lamp", "palm") have one key as well. Use it to keep queries out, not to find them equal.
    """
    words = {_singular(word) for word in _words(query)}
    letters = sorted(letter for word in words for letter in word if not letter.isdigit())
    numbers = sorted(number for word in words for number in _DIGITS.findall(word))
    return " ".join(["".join(letters), *numbers]).strip()


def _words(query: str) -> list[str]:
    """The words in lower case, the same for every way to write a character; without any, the signs, such as emoji.

    Marks that combine with a letter, as vowels do in many scripts, belong to its word.
    """
    if query.isascii():
        text = query.casefold()
        words = _WORD.findall(text)
    else:
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", query).casefold())
        pieces = "".join(c if _in_word(c) else " " for c in text).split()
        words = [piece for piece in pieces if _WORD.search(piece)]
    return words or [c for c in text if unicodedata.category(c).startswith("S")]


def _in_word(character: str) -> bool:
    return character == "_" or character.isalnum() or unicodedata.category(character).startswith("M")


def split_of(query: str, test_share: float) -> str:
    """train or test by a hash of the query: the same for every spelling that `loose_key` takes for the same."""
    digest = hashlib.sha256(loose_key(query).encode()).digest()
    return TEST if int.from_bytes(digest[:8]) / 2**64 < test_share else TRAIN


def refuse_leakage(path: Path, pairs: list[JudgedPair]) -> None:
    """Raises TrainingError if a query stands in both splits."""
    splits: dict[str, str] = {}
    for pair in pairs:
        if splits.setdefault(normalise_query(pair.query), pair.split) != pair.split:
            raise TrainingError(f"{path}: query {pair.query!r} stands in train and in test: the test would be void")


class QueryHashes:
    """A growing set of 64-bit hashes of queries' keys: 8 bytes a query, whatever the queries' lengths.

    Hashes hold within a process only. Equal keys have equal hashes, so nothing is overlooked; whoever finds a hash in
    two sets compares the keys themselves, so that a collision is not taken for equality.
    """

    def __init__(self) -> None:
        self._sorted: NDArray[np.int64] = np.empty(0, np.int64)
        self._fresh: list[int] = []

    def add(self, queries: Iterable[str]) -> None:
        """Adds the keys of queries."""
        self._fresh.extend(key_hash(query) for query in queries)
        if len(self._fresh) >= _COMPACT_AT:
            self._compact()

    def holds(self, queries: Sequence[str]) -> NDArray[np.bool_]:
        """Whether the set has the hash of each query's key, shape (queries,): by mistake once in 2^64 / size."""
        known = self.hashes()
        if not len(known):
            return np.zeros(len(queries), np.bool_)
        asked = np.fromiter(map(key_hash, queries), np.int64, len(queries))
        found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] == asked
        return found

    def in_both(self, other: "QueryHashes") -> set[int]:
        """The hashes that both sets hold."""
        both = np.intersect1d(self.hashes(), other.hashes(), assume_unique=True)
        return {int(value) for value in both}

    def hashes(self) -> NDArray[np.int64]:
        """All of them, sorted, each once."""
        self._compact()
        return self._sorted

    def _compact(self) -> None:
        if self._fresh:
            self._sorted = np.union1d(self._sorted, np.asarray(self._fresh, np.int64))
            self._fresh = []


class SplitCheck:
    """Collects the queries of both splits, and tells which seem to stand in both, in bounded memory."""

    def __init__(self) -> None:
        self._hashes = {TRAIN: QueryHashes(), TEST: QueryHashes()}

    def add(self, rows: Iterable[tuple[str, str]]) -> None:
        """Adds (query, split) rows."""
        for query, split in rows:
            self._hashes[split].add([query])

    def suspects(self) -> set[int]:
        """Hashes of keys that seem to stand in both splits: mostly none."""
        return self._hashes[TRAIN].in_both(self._hashes[TEST])

    def suspected(self, rows: Iterable[tuple[str, str]], suspects: set[int]) -> Iterator[tuple[str, str]]:
        """Those of the rows whose key has one of the hashes."""
        return (row for row in rows if key_hash(row[0]) in suspects)


def key_hash(query: str) -> int:
    """64 bits of the strict key, the same within this process."""
    return hash(normalise_query(query))


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(_NO_PLURAL):
        return word[:-1]
    return word

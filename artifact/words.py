"""Token ids by whole words, for tokenizers to which a word's tokens are the same whatever stands beside it.

Words follow Zipf's law: a few thousand make up nearly all of a catalogue, texts never seen before included. To look
them up is several times faster than to tokenise them again.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

Encode = Callable[[list[str]], list[list[int]]]
TokenIds = tuple[int, ...]

MAX_BYTES = 4 * 1024 * 1024
"""Of words and their ids, by the estimate below; then they are learned anew. About 10,000 words."""

WORD_BYTES = 200
CHAR_BYTES = 36
"""About what CPython needs for a word, and for each character and the token that it may become."""

MAX_WORD_CHARS = 50
"""Longer ones are not kept: one absurd title must not push out a thousand common words."""

SEPARATOR = "|"
"""Goes between words that are tokenised together, each of which would take ten times as long alone."""


class WordIds:
    """Encodes texts by their words: what stands between spaces. Safe to use from several threads.

    Args:
        encode: token ids of texts, where those of "a b" are those of "a" and then those of "b".
        separator_id: the token that SEPARATOR becomes, and hardly anything else; None where there is none.
        max_bytes: most memory for known words.
    """

    def __init__(self, encode: Encode, separator_id: int | None, max_bytes: int = MAX_BYTES) -> None:
        self._encode = encode
        self._separator_id = separator_id
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._known: dict[str, TokenIds] = {}
        self._bytes = 0

    def __reduce__(self) -> tuple[type["WordIds"], tuple[Encode, int | None, int]]:
        """Travels to other processes without the words that are known."""
        return WordIds, (self._encode, self._separator_id, self._max_bytes)

    def encode_heads(self, texts: Sequence[str], limits: Sequence[int], chars_per_token: int) -> list[list[int]]:
        """The first token ids of each text, as many as its limit.

        What comes after so many characters for each token is looked at only where those do not give enough.
        """
        heads = [_head(text, limit * chars_per_token) for text, limit in zip(texts, limits, strict=True)]
        found = self._encode_whole(heads, limits)
        short = [i for i, ids in enumerate(found) if len(ids) < limits[i] and len(heads[i]) < len(texts[i])]
        if short:
            whole = self._encode_whole([texts[i] for i in short], [limits[i] for i in short])
            for i, ids in zip(short, whole, strict=True):
                found[i] = ids
        return found

    def _encode_whole(self, texts: Sequence[str], limits: Sequence[int]) -> list[list[int]]:
        rows = [text.split(" ") for text in texts]
        known = self._known
        unknown = set(chain.from_iterable(rows)).difference(known)
        if unknown:
            absurd = [word for word in unknown if len(word) > MAX_WORD_CHARS]
            self._learn(known, [word for word in unknown if len(word) <= MAX_WORD_CHARS])
            if absurd:
                known = {**known, **dict(self._encode_apart(absurd))}
        find = known.__getitem__
        return [list(islice(chain.from_iterable(map(find, row)), n)) for row, n in zip(rows, limits, strict=True)]

    def _learn(self, known: dict[str, TokenIds], words: list[str]) -> None:
        """Adds words to `known`, which its caller goes on with even where others have begun to learn anew."""
        if self._separator_id is None:
            learned = [*self._encode_apart(words)]
        else:
            learned = [*self._encode_apart([word for word in words if SEPARATOR in word])]
            together = [word for word in words if SEPARATOR not in word]
            learned += self._encode_together(together, self._separator_id)
        with self._lock:
            known.update(learned)
            self._bytes += sum(WORD_BYTES + CHAR_BYTES * len(word) for word in words)
            if self._bytes > self._max_bytes:
                self._known, self._bytes = {}, 0

    def _encode_apart(self, words: list[str]) -> Iterator[tuple[str, TokenIds]]:
        return zip(words, map(tuple, self._encode(words)), strict=True)

    def _encode_together(self, words: list[str], separator_id: int) -> Iterator[tuple[str, TokenIds]]:
        (ids,) = self._encode([" ".join(f"{word} {SEPARATOR}" for word in words)])
        if ids.count(separator_id) != len(words):
            # Something else becomes that token too, or the separator another.
            yield from self._encode_apart(words)
            return
        start = 0
        for word in words:
            end = ids.index(separator_id, start)
            yield word, tuple(ids[start:end])
            start = end + 1


def _head(text: str, chars: int) -> str:
    """The words of about so many first characters, or the whole text where no space says where a word ends."""
    if len(text) <= chars:
        return text
    end = text.rfind(" ", 0, chars + 1)
    return text[:end] if end > 0 else text

"""Disagreement: products that one retriever ranks high and the other low. One of the two is wrong about each."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest


def disagreement(
    by_words: Sequence[int], by_vectors: Sequence[int], top: int, beyond: int
) -> Iterator[tuple[int, str]]:
    """Positions with the retriever that ranks them high, `words` or `vectors`, in turn, best first.

    Args:
        by_words: positions by BM25, best first: those that share a word with the query, `beyond` of them if there are.
        by_vectors: positions by cosine, best first, `beyond` of them if there are.
        top: how many best of one retriever count as high.
        beyond: ranks of the other from which on a product counts as low.
    """
    high_in_words, high_in_vectors = set(by_words[:beyond]), set(by_vectors[:beyond])
    words = [(j, "words") for j in by_words[:top] if j not in high_in_vectors]
    vectors = [(j, "vectors") for j in by_vectors[:top] if j not in high_in_words]
    for pair in zip_longest(words, vectors):
        yield from (entry for entry in pair if entry is not None)

"""Pairs to token ids: the one tokenisation that training, export and serving share.

The query and each product are encoded apart, so that either can be cached, and joined into pairs afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from .errors import ArtifactError
from .template import InputTemplate, Product
from .words import SEPARATOR, WordIds

TokenIds = NDArray[np.int64]

HEAD_CHARS_PER_TOKEN = 6
"""Of a text cut to its first tokens, so many characters for each are looked at, and the rest only if they do not do."""


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Model inputs of n pairs padded to the longest: int64 arrays of shape (n, length)."""

    input_ids: TokenIds
    attention_mask: TokenIds
    token_type_ids: TokenIds

    def feeds(self) -> dict[str, TokenIds]:
        """The arrays by the names that transformers' models and our ONNX graphs give them."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }


class PairTokenizer:
    """Encodes queries and products after an input template. Safe to use from several threads.

    Special tokens written in a text ("[SEP]" in a title) are plain text: nobody can forge a pair's structure.

    Args:
        path: a `tokenizer.json` of the tokenizers library.
        template: the input template.

    Attributes:
        glue: goes before each field of a product but the first, in its text.
        unknown_id: the token that stands for what the vocabulary lacks; None where it lacks nothing.

    Raises:
        ArtifactError: the file cannot be read as a tokenizer, or lacks a special token that the template names.
    """

    def __init__(self, path: Path, template: InputTemplate) -> None:
        self.template = template
        self._tokenizer = _read(path)
        form = template.pair_format
        self._before = self._ids_of(path, form.before)
        self._between = self._ids_of(path, form.between)
        self._after = self._ids_of(path, form.after)
        self.glue = self._joins_words()
        self._words: WordIds | None = None
        if _words_stand_alone(self._tokenizer):
            # Not a method of this object: a model that was swapped out goes by its reference count.
            self._words = WordIds(partial(_encode, self._tokenizer), self._tokenizer.token_to_id(SEPARATOR))
        self._pad_id = int(self._ids_of(path, (form.pad,))[0])
        self.unknown_id = _unknown_id(self._tokenizer)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode_query(self, query: str) -> TokenIds:
        """Token ids of a query, shape (length,), at most `max_query_tokens`, no special tokens."""
        limit = self.template.max_query_tokens
        ids = self.encode_heads([self.template.render_query(query)], [limit])[0]
        return np.asarray(ids[:limit], dtype=np.int64)

    def encode_products(self, products: Sequence[Product]) -> list[TokenIds]:
        """Token ids of each product, its fields one after another, each cut to its share; no special tokens."""
        rendered = [self.template.render_product(product) for product in products]
        texts = [f"{self.glue}{text}" if i else text for parts in rendered for i, (text, _) in enumerate(parts)]
        limits = [max_tokens for parts in rendered for _, max_tokens in parts]
        encoded = iter(self.encode_heads(texts, limits))
        result: list[TokenIds] = []
        for parts in rendered:
            ids: list[int] = []
            for _, max_tokens in parts:
                ids += next(encoded)[:max_tokens]
            result.append(np.asarray(ids, dtype=np.int64))
        return result

    def encode_heads(self, texts: list[str], limits: list[int]) -> list[list[int]]:
        """The tokens of each text, or at least as many first ones as its limit."""
        if self._words is None:
            return self._encode(texts)
        return self._words.encode_heads(texts, limits, HEAD_CHARS_PER_TOKEN)

    def pair_length(self, query_tokens: int, product_tokens: int) -> int:
        """Length of a pair in tokens, special tokens included, after the cut to `max_tokens`."""
        full = query_tokens + product_tokens + self.template.pair_format.special_tokens
        return min(full, self.template.max_tokens)

    def collate(self, pairs: Sequence[tuple[TokenIds, TokenIds]]) -> PairBatch:
        """Joins encoded (query, product) pairs and pads them to the longest.

        Returns:
            A PairBatch of shape (n, length). Product tokens past `max_tokens` are dropped, query tokens never.
        """
        before, between, after = self._before, self._between, self._after
        rows = [np.concatenate((before, query, between)) for query, _ in pairs]
        heads = [len(row) for row in rows]
        room = [self.template.max_tokens - head - len(after) for head in heads]
        tails = [np.concatenate((product[:free], after)) for (_, product), free in zip(pairs, room, strict=True)]
        lengths = [head + len(tail) for head, tail in zip(heads, tails, strict=True)]

        shape = (len(pairs), max(lengths, default=0))
        ids = np.full(shape, self._pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        types = np.zeros(shape, dtype=np.int64)
        for i, (row, tail, head, length) in enumerate(zip(rows, tails, heads, lengths, strict=True)):
            ids[i, :head] = row
            ids[i, head:length] = tail
            mask[i, :length] = 1
            types[i, head:length] = 1
        return PairBatch(ids, mask, types)

    def collate_alone(self, texts: Sequence[TokenIds]) -> PairBatch:
        """Encoded queries, or products, each between special tokens of its own, padded to the longest.

        Returns:
            A PairBatch of shape (n, length), its token types 0. Tokens past `max_tokens` are dropped.
        """
        room = self.template.max_tokens - len(self._before) - len(self._after)
        rows = [np.concatenate((self._before, text[:room], self._after)) for text in texts]
        shape = (len(rows), max(map(len, rows), default=0))
        ids = np.full(shape, self._pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        return PairBatch(ids, mask, np.zeros(shape, dtype=np.int64))

    def alone_length(self, tokens: int) -> int:
        """Length of a query or product that stands alone, special tokens included, after the cut to `max_tokens`."""
        return min(tokens + len(self._before) + len(self._after), self.template.max_tokens)

    def encode_pairs(self, pairs: Sequence[tuple[str, Product]]) -> PairBatch:
        """Tokenises and joins (query, product) pairs in one go, for callers without a cache."""
        queries = {query: self.encode_query(query) for query in dict.fromkeys(query for query, _ in pairs)}
        products = self.encode_products([product for _, product in pairs])
        return self.collate([(queries[query], ids) for (query, _), ids in zip(pairs, products, strict=True)])

    def _joins_words(self) -> str:
        """A space where a word at the start of a text is taken for the middle of one (byte-level BPE); else nothing."""
        together, first, second, spaced = self._encode(["a b", "a", "b", " b"])
        return " " if together != first + second and together == first + spaced else ""

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return _encode(self._tokenizer, texts)

    def _ids_of(self, path: Path, tokens: tuple[str, ...]) -> TokenIds:
        ids = [self._tokenizer.token_to_id(token) for token in tokens]
        if None in ids:
            raise ArtifactError(path, f"expected the special token {tokens[ids.index(None)]!r} that the template names")
        return np.asarray(ids, dtype=np.int64)


def _encode(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    # The library does not tell that of a Unigram model, whose families all call it so.
    token = "<unk>" if isinstance(tokenizer.model, models.Unigram) else getattr(tokenizer.model, "unk_token", None)
    return None if token is None else tokenizer.token_to_id(token)


def _words_stand_alone(tokenizer: Tokenizer) -> bool:
    """Whether what comes after a space never changes the tokens before it: so it is known of BERT's own tokenizer."""
    return (
        isinstance(tokenizer.model, models.WordPiece)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
        # The normaliser makes a space of any white space, in added tokens as in texts.
        and not any(map(str.isspace, "".join(token.content for token in tokenizer.get_added_tokens_decoder().values())))
    )


def _read(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ArtifactError(path, f"expected a tokenizer.json of the tokenizers library: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer

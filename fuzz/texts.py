"""Bytes as a query and the fields of a product: tokenised within the limits, the same each time, as the library does.

An input is cut at the byte 0xff, which no UTF-8 has: the query, then title, brand, and so on.
"""

from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from artifact import PRODUCT_FIELDS, InputTemplate, PairTokenizer, Product
from artifact.loading import read_manifest
from artifact.words import WordIds

MODEL = Path(__file__).parents[1] / "models" / "default"
CUT = b"\xff"


class Reference:
    """The same encoding, written down as the input template describes it: one call of the library for each text."""

    def __init__(self, path: Path, template: InputTemplate) -> None:
        self._template = template
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True

    def query(self, query: str) -> list[int]:
        """Token ids of a query."""
        return self._head(query, self._template.max_query_tokens)

    def product(self, product: Product) -> list[int]:
        """Token ids of a product."""
        ids: list[int] = []
        for text, max_tokens in self._template.render_product(product):
            ids += self._ids(text)[:max_tokens]
        return ids

    def pair(self, query: str, product: Product) -> list[int]:
        """A whole pair, its special tokens included."""
        form = self._template.pair_format
        before = [*self._named(form.before), *self.query(query), *self._named(form.between)]
        after = self._named(form.after)
        room = self._template.max_tokens - len(before) - len(after)
        return [*before, *self.product(product)[:room], *after]

    def _head(self, text: str, max_tokens: int) -> list[int]:
        cut = text[: max_tokens * self._template.max_chars_per_token].strip()
        return self._ids(cut.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))[:max_tokens]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _named(self, tokens: tuple[str, ...]) -> list[int]:
        return [int(id_) for token in tokens if (id_ := self._tokenizer.token_to_id(token)) is not None]


@cache
def tokenizers() -> tuple[PairTokenizer, Reference]:
    """Of the default model: ours, and the reference."""
    template = read_manifest(MODEL).template
    path = MODEL / "tokenizer.json"
    return PairTokenizer(path, template), Reference(path, template)


def read(data: bytes) -> tuple[str, dict[str, str]]:
    """An input's query and product. What is no UTF-8 becomes lone surrogates, which JSON can carry too."""
    query, *fields = (part.decode("utf-8", "surrogateescape") for part in data.split(CUT, len(PRODUCT_FIELDS)))
    return query, dict(zip(PRODUCT_FIELDS, fields, strict=False))


def check(data: bytes) -> None:
    """Raises AssertionError where a text is tokenised wrongly, and whatever tokenising should not have raised."""
    tokenizer, reference = tokenizers()
    query, product = read(data)
    check_texts(tokenizer, reference, query, product)


def check_texts(tokenizer: PairTokenizer, reference: Reference, query: str, product: Product) -> None:
    """The same of texts."""
    template = tokenizer.template
    query_ids = tokenizer.encode_query(query)
    (product_ids,) = tokenizer.encode_products([product])
    assert query_ids.tolist() == reference.query(query), "a query's tokens are not the library's"
    assert product_ids.tolist() == reference.product(product), "a product's tokens are not the library's"
    assert len(query_ids) <= template.max_query_tokens
    assert len(product_ids) <= sum(field.max_tokens for field in template.fields)

    # Beside others, and with every word known, half known, and forgotten.
    beside = [{"title": "usb c charger"}, product, {"title": query[:200]}, product]
    assert [ids.tolist() for ids in tokenizer.encode_products(beside)][1::2] == [product_ids.tolist()] * 2
    _forget_words(tokenizer)
    assert tokenizer.encode_query(query).tolist() == query_ids.tolist(), "it depends on what was seen before"

    batch = tokenizer.encode_pairs([(query, product), ("usb", {"title": "x"})])
    length = int(batch.attention_mask[0].sum())
    assert batch.input_ids[0, :length].tolist() == reference.pair(query, product)
    assert length == tokenizer.pair_length(len(query_ids), len(product_ids)) <= template.max_tokens
    assert batch.input_ids.min() >= 0
    assert batch.input_ids.max() < tokenizer.vocab_size
    specials = len(query_ids) + len(template.pair_format.before) + len(template.pair_format.between)
    assert np.array_equal(batch.token_type_ids[0, :length], np.arange(length) >= specials)


def _forget_words(tokenizer: PairTokenizer) -> None:
    words = tokenizer._words
    if words is not None:
        maker, arguments = words.__reduce__()
        assert maker is WordIds
        tokenizer._words = maker(*arguments)

"""What a model gets to read of its inputs: tokens, unknown ones among them, and what is cut off. For drift."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from .template import PRODUCT_FIELDS, Product
from .tokenisation import PairTokenizer

SCORE = "score"

TOKENS_PER_WORD = (1.01, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0)
UNKNOWN_SHARES = (1e-9, 0.1, 0.25, 0.5)
EITHER = (0.5,)

SIGNALS: Mapping[str, tuple[float, ...]] = {
    SCORE: tuple(i / 20 for i in range(1, 20)),
    "query_tokens": (2, 3, 4, 5, 6, 8, 10, 13, 17, 25),
    "query_tokens_per_word": TOKENS_PER_WORD,
    "query_unknown_share": UNKNOWN_SHARES,
    "query_truncated": EITHER,
    "product_tokens": (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128),
    "product_tokens_per_word": TOKENS_PER_WORD,
    "product_unknown_share": UNKNOWN_SHARES,
    "product_truncated": EITHER,
}
"""What is watched for drift, and the edges of its bins where no reference has others.

Of another language a word makes more tokens long before it makes unknown ones: few vocabularies lack a letter.
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """One query, or one product.

    Attributes:
        tokens: that the model reads, special ones apart.
        unknown: those of them that stand for what the vocabulary lacks.
        words: between spaces, in fields that are read whole.
        word_tokens: of these fields.
        cut_fields: fields of which the model does not read all; of a query, `query`.
        truncated: whether anything is left unread: of a field, or since the pair is too long.
    """

    tokens: int
    unknown: int
    words: int
    word_tokens: int
    cut_fields: tuple[str, ...]
    truncated: bool


class InputReader:
    """Reads queries and products as the model does. Safe to use from several threads.

    Args:
        tokenizer: of the artifact.
        alone: whether a product is read by itself, as by a split model, and not beside the query.
    """

    def __init__(self, tokenizer: PairTokenizer, *, alone: bool) -> None:
        self._tokenizer = tokenizer
        self._template = tokenizer.template
        self._alone = alone

    @property
    def tells_unknown(self) -> bool:
        """Whether the vocabulary has a token for what it lacks; byte-level ones lack nothing."""
        return self._tokenizer.unknown_id is not None

    def query(self, query: str) -> Reading:
        """What is read of a query."""
        template = self._template
        text, limit = template.render_query(query), template.max_query_tokens
        (ids,) = self._tokenizer.encode_heads([text], [limit + 1])
        return self._reading([("query", query, text, limit, ids)], limit)

    def products(self, products: Sequence[Product], query: Reading) -> list[Reading]:
        """What is read of products beside a query."""
        template, tokenizer = self._template, self._tokenizer
        rendered = [template.rendered_fields(product) for product in products]
        texts = [tokenizer.glue + text if i else text for fields in rendered for i, (_, text) in enumerate(fields)]
        limits = [field.max_tokens for fields in rendered for field, _ in fields]
        encoded = iter(tokenizer.encode_heads(texts, [limit + 1 for limit in limits]))
        if self._alone:
            room = template.max_tokens - tokenizer.alone_length(0)
        else:
            room = template.max_tokens - tokenizer.pair_length(query.tokens, 0)
        return [
            self._reading(
                [
                    (field.name, product.get(field.name) or "", text, field.max_tokens, ids)
                    for (field, text), ids in zip(fields, islice(encoded, len(fields)), strict=True)
                ],
                room,
            )
            for product, fields in zip(products, rendered, strict=True)
        ]

    def _reading(self, parts: Sequence[tuple[str, str, str, int, Sequence[int]]], room: int) -> Reading:
        """Of (name, text as given, text as cut by characters, limit in tokens, that many first tokens and one)."""
        chars, unknown_id = self._template.max_chars_per_token, self._tokenizer.unknown_id
        kept: list[int] = []
        cut_fields = []
        words = word_tokens = 0
        for name, given, text, limit, ids in parts:
            if len(ids) > limit or len(given) > limit * chars:
                cut_fields.append(name)
            else:
                words += len(text.split())
                word_tokens += len(ids)
            kept += ids[:limit]
        truncated = bool(cut_fields) or len(kept) > room
        kept = kept[:room]
        unknown = 0 if unknown_id is None else kept.count(unknown_id)
        return Reading(len(kept), unknown, words, word_tokens, tuple(cut_fields), truncated)


def signals_of(query: Reading, products: Sequence[Reading], *, tells_unknown: bool) -> dict[str, list[float]]:
    """The values of one request for every signal but the score. Those that it cannot tell are left out."""
    found: dict[str, list[float]] = {}
    for side, readings in (("query", [query]), ("product", products)):
        found[f"{side}_tokens"] = [float(reading.tokens) for reading in readings]
        found[f"{side}_tokens_per_word"] = list(_tokens_per_word(readings))
        if tells_unknown:
            found[f"{side}_unknown_share"] = [reading.unknown / max(1, reading.tokens) for reading in readings]
        found[f"{side}_truncated"] = [float(reading.truncated) for reading in readings]
    return found


def _tokens_per_word(readings: Sequence[Reading]) -> Iterator[float]:
    return (reading.word_tokens / reading.words for reading in readings if reading.words)


FIELDS = ("query", *PRODUCT_FIELDS)
"""Everything that `cut_fields` may hold."""

"""The input template: which product fields a model reads, in which order, and how many tokens each may take."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ProductField = Literal["title", "brand", "color", "product_type", "gender", "description"]
PRODUCT_FIELDS: tuple[ProductField, ...] = ("title", "brand", "color", "product_type", "gender", "description")

Product = Mapping[str, str | None]
"""Field name -> text. Missing, null and blank fields are the same: absent."""


class TemplateField(BaseModel):
    """One product field of a template."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ProductField
    max_tokens: int = Field(ge=1)
    omit_if_in: ProductField | None = Field(
        default=None,
        description="leave this field out where its text already stands, letter case aside, in that other field",
    )


class PairFormat(BaseModel):
    """Special tokens around query and product, by name: BERT's [CLS] query [SEP] product [SEP] by default.

    Token types are 0 up to and including `between`, 1 from the product on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    before: tuple[str, ...] = ("[CLS]",)
    between: tuple[str, ...] = ("[SEP]",)
    after: tuple[str, ...] = ("[SEP]",)
    pad: str = "[PAD]"

    @property
    def special_tokens(self) -> int:
        """How many special tokens a pair holds."""
        return len(self.before) + len(self.between) + len(self.after)


class InputTemplate(BaseModel):
    """How a (query, product) pair becomes text, and how long it may get.

    A pair longer than `max_tokens` loses product tokens, never query tokens; a query longer than `max_query_tokens`
    is cut to it. Text is cut by characters before it is tokenised, at `max_chars_per_token` for each token that
    it may take: far above what language needs, so that only absurd input is affected, and at a bounded cost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: tuple[TemplateField, ...] = Field(min_length=1)
    max_query_tokens: int = Field(ge=1)
    max_tokens: int = Field(ge=4, description="total length of a pair, special tokens included")
    max_chars_per_token: int = Field(default=16, ge=4)
    pair_format: PairFormat = PairFormat()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [field.name for field in self.fields]
        if len(set(names)) < len(names):
            raise ValueError(f"every field may be listed once, not {names}")
        for field in self.fields:
            if field.omit_if_in == field.name:
                raise ValueError(f"field {field.name} cannot be omitted for standing in itself")
        room = self.max_tokens - self.max_query_tokens - self.pair_format.special_tokens
        if room < 1:
            raise ValueError(
                f"max_tokens {self.max_tokens} leaves no room for a product after a query of {self.max_query_tokens} "
                f"and {self.pair_format.special_tokens} special tokens"
            )
        return self

    def render_query(self, query: str) -> str:
        """The query's text, cut by characters."""
        return _cut(query, self.max_query_tokens * self.max_chars_per_token)

    def render_product(self, product: Product) -> list[tuple[str, int]]:
        """The product's (text, max_tokens) parts in template order; absent and omitted fields are left out."""
        return [(text, field.max_tokens) for field, text in self.rendered_fields(product)]

    def rendered_fields(self, product: Product) -> list[tuple[TemplateField, str]]:
        """The same with the fields themselves."""
        parts: list[tuple[TemplateField, str]] = []
        lowered: dict[ProductField, str] = {}
        for field in self.fields:
            raw = product.get(field.name)
            if not raw:
                continue
            text = _cut(raw, field.max_tokens * self.max_chars_per_token)
            if not text:
                continue
            if (other := field.omit_if_in) is not None:
                if other not in lowered:
                    lowered[other] = self._as_read(other, product).lower()
                if text.lower() in lowered[other]:
                    continue
            parts.append((field, text))
        return parts

    def _as_read(self, name: ProductField, product: Product) -> str:
        """The text of a field, cut like those that the template lists; nothing of others."""
        limit = next((field.max_tokens for field in self.fields if field.name == name), 0)
        return _cut(product.get(name) or "", limit * self.max_chars_per_token)


def _cut(text: str, max_chars: int) -> str:
    """At most `max_chars` characters, trimmed; what UTF-8 cannot carry (lone surrogates) becomes U+FFFD."""
    text = text[:max_chars].strip()
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text

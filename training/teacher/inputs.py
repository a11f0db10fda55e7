"""Pairs as a Hugging Face model reads them: the template's text in the model's own tokenisation.

Encoders get a pair of texts, decoder LLMs one prompt whose last token is classified.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from artifact import InputTemplate, Product

from ..errors import TrainingError
from .families import is_decoder

Encoded = tuple[list[int], list[int]]
"""Token ids and token types of a pair."""

FIELDS_APART = ", "


class TextInputs:
    """Renders pairs after a template and encodes them for a model.

    Special tokens written in a text are plain text, and a text's line breaks are spaces: nobody can forge a structure.

    Args:
        tokenizer: of the model, from the tokenizers library.
        template: fields, their order and limits; its `pair_format` is not used.
        model: the sequence classifier; its padding token is set where it has none.
        prompt: for decoders, with {query} and {product}, the latter at the end.
        name: of the model, for errors.

    Raises:
        TrainingError: the tokenizer cannot do this, or the template leaves no room for a product.
    """

    def __init__(self, tokenizer: Any, template: InputTemplate, model: PreTrainedModel, prompt: str, name: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise TrainingError(f"{name}: expected a tokenizer of the tokenizers library, a tokenizer.json")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.pad_token is None:
            raise TrainingError(f"{name}: its tokenizer has no token to pad with: give it a pad_token or an eos_token")
        tokenizer.split_special_tokens = True
        tokenizer.truncation_side = "right"
        config: Any = model.config
        config.pad_token_id = tokenizer.pad_token_id
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            raise TrainingError(
                f"{name}: its tokenizer has {len(tokenizer)} tokens, more than the model: not of a piece"
            )
        self.tokenizer = tokenizer
        self.template = template
        self.prompt = prompt
        self.decoder = is_decoder(config.model_type)
        accepted = inspect.signature(model.forward).parameters
        self._types = "token_type_ids" in accepted and (getattr(config, "type_vocab_size", 0) or 0) > 1
        self._positions = self.decoder and "position_ids" in accepted
        self._check_room(name)

    def encode(self, pairs: Sequence[tuple[str, Product]]) -> list[Encoded]:
        """Token ids and types of pairs, at most `template.max_tokens` each; the product's end is what is cut."""
        if not pairs:
            return []
        template = self.template
        queries = list(dict.fromkeys(query for query, _ in pairs))
        cut = self._cut(
            [_one_line(template.render_query(q)) for q in queries], [template.max_query_tokens] * len(queries)
        )
        query_of = dict(zip(queries, cut, strict=True))
        rendered = [template.render_product(product) for _, product in pairs]
        limits = [limit for parts in rendered for _, limit in parts]
        fields = iter(self._cut([_one_line(text) for parts in rendered for text, _ in parts], limits))
        products = [FIELDS_APART.join(next(fields) for _ in parts) for parts in rendered]
        return self._join([query_of[query] for query, _ in pairs], products)

    def collate(self, batch: Sequence[Encoded]) -> dict[str, Tensor]:
        """Model inputs padded to the longest: int64, shape (pairs, tokens).

        Decoders are padded on the tokenizer's side, encoders on the right: they look at the first token.
        """
        longest = max(len(ids) for ids, _ in batch)
        shape = (len(batch), longest)
        ids = torch.full(shape, self.tokenizer.pad_token_id)
        mask, types = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        left = self.decoder and self.tokenizer.padding_side == "left"
        for row, (tokens, kinds) in enumerate(batch):
            place = slice(longest - len(tokens), longest) if left else slice(0, len(tokens))
            ids[row, place] = torch.tensor(tokens)
            types[row, place] = torch.tensor(kinds)
            mask[row, place] = 1
        feeds = {"input_ids": ids, "attention_mask": mask}
        if self._types:
            feeds["token_type_ids"] = types
        if self._positions:
            feeds["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        return feeds

    def _join(self, queries: Sequence[str], products: Sequence[str]) -> list[Encoded]:
        options = {"max_length": self.template.max_tokens, "return_attention_mask": False}
        if self.decoder:
            texts = [self._prompt(query, product) for query, product in zip(queries, products, strict=True)]
            ids = self.tokenizer(texts, truncation=True, return_token_type_ids=False, **options)["input_ids"]
            return [(row, [0] * len(row)) for row in ids]
        found = self.tokenizer(
            list(queries), list(products), truncation="only_second", return_token_type_ids=True, **options
        )
        return list(zip(found["input_ids"], found["token_type_ids"], strict=True))

    def _prompt(self, query: str, product: str) -> str:
        before, between = self.prompt.removesuffix("{product}").split("{query}")
        return f"{before}{query}{between}{product}".rstrip()

    def _cut(self, texts: Sequence[str], limits: Sequence[int]) -> list[str]:
        """Texts cut to so many tokens each."""
        cut = list(texts)
        # a token is a byte at least
        long = [i for i, text in enumerate(texts) if len(text.encode()) > limits[i]]
        if long:
            offsets = self.tokenizer(
                [texts[i] for i in long], add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )["offset_mapping"]
            for i, spans in zip(long, offsets, strict=True):
                if len(spans) > limits[i]:
                    cut[i] = texts[i][: spans[limits[i] - 1][1]]
        return cut

    def _check_room(self, name: str) -> None:
        template = self.template
        if self.decoder:
            around = len(self.tokenizer(self._prompt("", "x"))["input_ids"])
        else:
            around = int(self.tokenizer.num_special_tokens_to_add(pair=True))
        if template.max_query_tokens + around + 2 > template.max_tokens:
            raise TrainingError(
                f"{name}: max_tokens {template.max_tokens} leaves no room for a product after a query of "
                f"{template.max_query_tokens} tokens and {around} around it: raise max_tokens"
            )


def _one_line(text: str) -> str:
    return " ".join(text.split())

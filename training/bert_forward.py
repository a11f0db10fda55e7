"""BERT's forward pass for training without dropout: the same parameters and the same function, in less work.

Three things differ from the library's: the last layer is computed for [CLS] alone (keys and values for all tokens, the
rest for one), query, key and value are one product, and activations stay in the precision that is asked for. On a CPU,
where a small model spends half of its time outside matrix products, a step takes about two thirds as long.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForSequenceClassification, BertModel, PreTrainedModel

MASKED = -1e4
"""Added to attention scores of padding: far below any score, and inside the range of bfloat16."""

Weights = dict[nn.Module, tuple[Tensor, Tensor]]


def is_supported(model: PreTrainedModel) -> bool:
    """Whether the model is a plain BERT classifier, as `logits` asks for."""
    return isinstance(model, BertForSequenceClassification) and _is_plain(model)


def is_encoder(model: PreTrainedModel) -> bool:
    """Whether the model is a plain BERT encoder, as `token_states` asks for."""
    return isinstance(model, BertModel) and _is_plain(model)


def _is_plain(model: PreTrainedModel) -> bool:
    """Absolute positions, GELU, no decoder."""
    config = model.config
    return (
        config.hidden_act == "gelu"
        and getattr(config, "position_embedding_type", None) in (None, "absolute")
        and not getattr(config, "is_decoder", False)
    )


def logits(model: PreTrainedModel, batches: Sequence[dict[str, Tensor]]) -> list[Tensor]:
    """Logits of each batch, shape (pairs, labels) each, float32.

    Matrix products and activations are in the precision of the surrounding autocast, or in float32 without one.

    Args:
        model: as `is_supported` allows.
        batches: `input_ids`, `attention_mask` and `token_type_ids` of each batch, shape (pairs, tokens).
    """
    device = model.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    bert: Any = model.bert
    with torch.autocast(device, enabled=False):
        weights = _cast(bert.encoder, dtype)
        embedded = _embed(bert.embeddings, batches, dtype)
        return [
            model.classifier(torch.tanh(bert.pooler.dense(_first_token(bert.encoder, weights, states, batch))))
            for states, batch in zip(embedded, batches, strict=True)
        ]


def token_states(bert: PreTrainedModel, batches: Sequence[dict[str, Tensor]]) -> list[Tensor]:
    """The last layer's output for every token of each batch, shape (texts, tokens, width) each, float32.

    Args:
        bert: as `is_encoder` allows.
        batches: as `logits` takes them.
    """
    device = bert.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
    parts: Any = bert
    with torch.autocast(device, enabled=False):
        weights = _cast(parts.encoder, dtype)
        result = []
        for states, batch in zip(_embed(parts.embeddings, batches, dtype), batches, strict=True):
            mask = _mask(batch, states.dtype)
            for layer in parts.encoder.layer:
                states = _layer(layer, weights, states, states, mask)
            result.append(states.float())
    return result


def _mask(batch: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
    return (1.0 - batch["attention_mask"][:, None, None, :].to(dtype)) * MASKED


def _first_token(encoder: Any, weights: Weights, states: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """The last layer's output for [CLS], shape (pairs, width), float32."""
    mask = _mask(batch, states.dtype)
    for layer in encoder.layer[:-1]:
        states = _layer(layer, weights, states, states, mask)
    return _layer(encoder.layer[-1], weights, states[:, :1], states, mask)[:, 0].float()


def _cast(encoder: Any, dtype: torch.dtype) -> Weights:
    """Weights and biases in `dtype`, once for all batches; query, key and value of a layer are joined."""
    weights: Weights = {}
    for layer in encoder.layer:
        attention = layer.attention.self
        parts = (attention.query, attention.key, attention.value)
        joined = (
            torch.cat([part.weight for part in parts]).to(dtype),
            torch.cat([part.bias for part in parts]).to(dtype),
        )
        weights[attention] = joined
        for dense in (layer.attention.output.dense, layer.intermediate.dense, layer.output.dense):
            weights[dense] = dense.weight.to(dtype), dense.bias.to(dtype)
    return weights


def _embed(embeddings: Any, batches: Sequence[dict[str, Tensor]], dtype: torch.dtype) -> list[Tensor]:
    """Embedded tokens of each batch; the table is read once, for its gradient is as large as the table."""
    ids = [batch["input_ids"] for batch in batches]
    flat = embeddings.word_embeddings(torch.cat([part.flatten() for part in ids]))
    result = []
    for batch, words in zip(batches, flat.split([part.numel() for part in ids]), strict=True):
        pairs, length = batch["input_ids"].shape
        states = words.view(pairs, length, -1) + embeddings.token_type_embeddings(batch["token_type_ids"])
        states = states + embeddings.position_embeddings.weight[:length]
        result.append(embeddings.LayerNorm(states).to(dtype))
    return result


def _layer(layer: Any, weights: Weights, queries: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    """One layer's output for `queries`, the first tokens of `states`; shape (pairs, tokens of queries, width)."""
    width = states.shape[-1]
    attention = layer.attention.self
    weight, bias = weights[attention]
    if queries is states:
        q, k, v = functional.linear(states, weight, bias).split(width, dim=-1)
    else:
        q = functional.linear(queries, weight[:width], bias[:width])
        k, v = functional.linear(states, weight[width:], bias[width:]).split(width, dim=-1)
    q, k, v = (_heads(part, attention.num_attention_heads) for part in (q, k, v))
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask
    context = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(queries.shape)
    output = layer.attention.output
    attended = _normalised(output.LayerNorm, functional.linear(context, *weights[output.dense]) + queries)
    inner = functional.gelu(functional.linear(attended, *weights[layer.intermediate.dense]))
    result: Tensor = _normalised(
        layer.output.LayerNorm, functional.linear(inner, *weights[layer.output.dense]) + attended
    )
    return result


def _heads(states: Tensor, heads: int) -> Tensor:
    """(pairs, tokens, width) to (pairs, heads, tokens, width / heads)."""
    pairs, tokens, width = states.shape
    return states.view(pairs, tokens, heads, width // heads).transpose(1, 2)


def _normalised(norm: nn.LayerNorm, states: Tensor) -> Tensor:
    """Layer normalisation in float32, back in the precision of `states`."""
    result: Tensor = norm(states.float()).to(states.dtype)
    return result

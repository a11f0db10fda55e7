"""The training forward pass gives the library's logits and gradients."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from training import bert_forward


@pytest.fixture(params=[1, 2, 3])
def model(request):
    torch.manual_seed(request.param)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=request.param,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.3,
        num_labels=2,
    )
    return BertForSequenceClassification(config).eval()


def batches():
    result = []
    for pairs, length in ((3, 7), (2, 12), (1, 4)):
        mask = torch.ones(pairs, length, dtype=torch.long)
        mask[0, length - 2 :] = 0
        ids = torch.randint(60, (pairs, length)) * mask
        result.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.randint(2, (pairs, length))})
    return result


def test_logits_and_gradients_are_the_librarys(model):
    feeds = batches()
    expected = [model(**feed).logits for feed in feeds]
    found = bert_forward.logits(model, feeds)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)

    def gradients(logits):
        model.zero_grad()
        torch.cat(logits).pow(2).sum().backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    wanted = gradients(expected)
    for name, gradient in gradients(found).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-4, rtol=1e-3, msg=name)


def test_autocast_decides_the_precision(model):
    feeds = batches()
    exact = torch.cat(bert_forward.logits(model, feeds))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = torch.cat(bert_forward.logits(model, feeds))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1


def test_other_architectures_and_activations_go_through_the_library(model):
    assert bert_forward.is_supported(model)
    model.config.hidden_act = "relu"
    assert not bert_forward.is_supported(model)
    small = DistilBertConfig(vocab_size=60, dim=32, n_layers=1, n_heads=2, hidden_dim=32)
    assert not bert_forward.is_supported(DistilBertForSequenceClassification(small))

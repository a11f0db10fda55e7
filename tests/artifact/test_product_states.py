"""A product's state is its own rows of the encoder's output, and its key is of all that the model may read."""

import numpy as np
import pytest

from artifact import InputTemplate, TemplateField
from artifact.product_states import KEY_BYTES, state_key, states_of_batch


def batch(lengths):
    """An encoder's outputs, every number another one; what stands in padding too."""
    products, longest, width = len(lengths), max(lengths), 3
    tokens = np.arange(products * longest * width, dtype=np.uint8).reshape(products, longest, width)
    scales = np.arange(products * longest, dtype=np.float32).reshape(products, longest)
    pooled = 100 + np.arange(products * 2, dtype=np.uint8).reshape(products, 2)
    return tokens, scales, pooled, np.arange(products, dtype=np.float32) + 0.5


def test_a_state_has_a_row_for_each_token_but_the_special_ones():
    tokens, scales, pooled, pooled_scales = batch([5, 3])
    first, second = states_of_batch(tokens, scales, pooled, pooled_scales, [5, 3])
    np.testing.assert_array_equal(first.tokens, tokens[0, 1:4])
    np.testing.assert_array_equal(first.scales, scales[0, 1:4])
    np.testing.assert_array_equal(second.tokens, tokens[1, 1:2])
    np.testing.assert_array_equal(second.scales, scales[1, 1:2])
    np.testing.assert_array_equal(second.pooled, pooled[1])
    assert (first.pooled_scale, second.pooled_scale) == (0.5, 1.5)


def test_a_product_without_a_token_of_its_own_has_the_states_of_the_special_ones():
    tokens, scales, pooled, pooled_scales = batch([2, 4])
    empty, _ = states_of_batch(tokens, scales, pooled, pooled_scales, np.array([2, 4]))
    np.testing.assert_array_equal(empty.tokens, tokens[0, :2])
    np.testing.assert_array_equal(empty.scales, scales[0, :2])


def test_a_state_does_not_keep_its_batch_in_memory():
    outputs = batch([5, 3])
    for state in states_of_batch(*outputs, [5, 3]):
        for kept in (state.tokens, state.scales, state.pooled):
            assert not any(np.shares_memory(kept, output) for output in outputs)
            assert kept.base is None


@pytest.fixture
def key():
    template = InputTemplate(
        fields=(TemplateField(name="title", max_tokens=4), TemplateField(name="brand", max_tokens=2)),
        max_query_tokens=3,
        max_tokens=10,
    )
    return lambda product, version="0123456789abcdef": state_key(version, template, product)


def test_a_changed_character_changes_the_key(key):
    title = "Red lamp, 60 W"
    keys = {key({"title": title[:i] + "~" + title[i + 1 :]}) for i in range(len(title))} | {key({"title": title})}
    assert len(keys) == len(title) + 1
    assert {len(each) for each in keys} == {KEY_BYTES}


def test_text_that_moves_from_one_field_to_the_next_changes_the_key(key):
    assert key({"title": "red lamp"}) != key({"title": "red", "brand": "lamp"}) != key({"brand": "red lamp"})


def test_another_version_of_the_states_makes_another_key(key):
    assert key({"title": "lamp"}) != key({"title": "lamp"}, "fedcba9876543210")


def test_what_the_model_never_reads_leaves_the_key_as_it_is(key):
    assert key({"title": " lamp ", "description": "of brass"}) == key({"title": "lamp", "brand": None})

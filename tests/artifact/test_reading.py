"""What is said to be read of an input is what the model reads."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact import InputTemplate, PairTokenizer, TemplateField
from artifact.loading import open_tokenizer, read_manifest
from artifact.reading import SIGNALS, InputReader, signals_of

DEFAULT = Path(__file__).parents[2] / "models" / "default"

TITLE = {"title": "65W USB-C charger", "brand": "Anker"}


@pytest.fixture(scope="module")
def default() -> PairTokenizer:
    return open_tokenizer(DEFAULT, read_manifest(DEFAULT))


@pytest.fixture(scope="module")
def short() -> PairTokenizer:
    """Pairs of 16 tokens: 3 special ones, a query of 4 at most."""
    fields = (TemplateField(name="title", max_tokens=10), TemplateField(name="description", max_tokens=5))
    return PairTokenizer(DEFAULT / "tokenizer.json", InputTemplate(fields=fields, max_query_tokens=4, max_tokens=16))


words = st.lists(st.sampled_from(["usb", "charger", "Ladegerät", "зарядка", "抹茶", "x" * 120, "65w", "🎁", "a"]))
texts = words.map(" ".join)


@given(texts, st.lists(st.fixed_dictionaries({"title": texts, "description": texts}), min_size=1, max_size=3))
def test_tokens_are_those_that_stand_in_the_pair(short, query, products):
    reader = InputReader(short, alone=False)
    read = reader.query(query)
    readings = reader.products(products, read)
    assert read.tokens == len(short.encode_query(query))
    special = short.template.pair_format.special_tokens
    for product, reading in zip(products, readings, strict=True):
        batch = short.encode_pairs([(query, product)])
        assert reading.tokens == batch.input_ids.shape[1] - read.tokens - special
        unknown = int((batch.input_ids == short.unknown_id).sum())
        assert reading.unknown + read.unknown == unknown


@given(texts)
def test_a_product_alone_has_the_room_of_the_query_too(short, title):
    reader = InputReader(short, alone=True)
    product = {"title": title, "description": title}
    (reading,) = reader.products([product], reader.query("usb usb usb usb"))
    alone = short.collate_alone(short.encode_products([product]))
    assert reading.tokens == alone.input_ids.shape[1] - short.alone_length(0)


def test_what_is_over_its_limit_is_truncated_and_named(short):
    reader = InputReader(short, alone=False)
    query = reader.query("usb usb usb usb usb")
    assert (query.tokens, query.truncated, query.cut_fields) == (4, True, ("query",))
    whole = reader.query("usb usb usb usb")
    assert (whole.tokens, whole.truncated, whole.cut_fields) == (4, False, ())
    title, description = " ".join(["usb"] * 11), " ".join(["usb"] * 6)
    one, other = reader.products([{"title": title}, {"title": "usb", "description": description}], whole)
    assert (one.truncated, one.cut_fields) == (True, ("title",))
    assert (other.truncated, other.cut_fields) == (True, ("description",))


def test_a_pair_that_is_too_long_is_truncated_though_no_field_is(short):
    reader = InputReader(short, alone=False)
    fits, over = " ".join(["usb"] * 9), " ".join(["usb"] * 10)
    query = reader.query("usb usb usb usb")
    assert [reading.truncated for reading in reader.products([{"title": fits}, {"title": over}], query)] == [
        False,
        True,
    ]
    assert reader.products([{"title": over}], query)[0].cut_fields == ()


def test_text_that_is_cut_by_characters_is_truncated(short):
    reader = InputReader(short, alone=False)
    assert reader.query("x" * 1000).truncated
    assert not reader.query("x").truncated


def test_tokens_per_word_are_counted_over_what_is_read_whole(default):
    reader = InputReader(default, alone=True)
    query = reader.query("usb cable")
    assert signals_of(query, [], tells_unknown=True)["query_tokens_per_word"] == [1.0]
    (product,) = reader.products([{"title": "usb cable", "description": "word " * 40}], query)
    assert (product.words, product.word_tokens) == (2, 2)
    german = reader.query("Handyladegerät")
    assert german.word_tokens / german.words > 3


def test_what_the_vocabulary_lacks_is_counted(default):
    reader = InputReader(default, alone=True)
    assert reader.tells_unknown
    assert reader.query("🎁 gift").unknown == 1
    assert signals_of(reader.query("🎁 gift"), [], tells_unknown=True)["query_unknown_share"] == [0.5]


def test_empty_products_have_no_words_and_no_tokens(default):
    reader = InputReader(default, alone=True)
    query = reader.query("usb")
    (product,) = reader.products([{"title": ""}], query)
    assert (product.tokens, product.words, product.truncated) == (0, 0, False)
    values = signals_of(query, [product], tells_unknown=True)
    assert values["product_tokens_per_word"] == []
    assert values["product_unknown_share"] == [0.0]


def test_every_signal_has_bins_and_every_bin_a_signal(default):
    reader = InputReader(default, alone=True)
    query = reader.query("usb charger")
    values = signals_of(query, reader.products([TITLE], query), tells_unknown=True)
    assert {"score", *values} == set(SIGNALS)
    assert not {name for name in signals_of(query, [], tells_unknown=False) if "unknown" in name}

"""Encoding any text gives what the tokenizers library gives, called as plainly as the template can be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from artifact import PRODUCT_FIELDS, InputTemplate, PairTokenizer, TemplateField
from fuzz.texts import MODEL, check_texts, tokenizers

WORDS = st.sampled_from(
    [
        *("usb", "charger", "65W", "USB-C", "充电器", "é", "e\u0301", "İ", "ß", "ﬁ", "[SEP]", "##s", "|", "a|b"),
        *(
            "\u200b",
            "\u00a0",
            "\u3000",
            "\x00",
            "\x85",
            "\ufeff",
            "\ud800",
            "👩\u200d💻",
            "!" * 40,
            "a" * 60,
            "字" * 30,
        ),
    ]
)
TEXTS = st.text(st.characters(codec=None), max_size=40) | st.lists(WORDS, max_size=120).map(" ".join)
FIELDS = st.dictionaries(st.sampled_from(PRODUCT_FIELDS), st.none() | TEXTS)


@given(TEXTS, FIELDS)
def test_any_text_becomes_the_tokens_that_the_library_gives(query, product):
    check_texts(*tokenizers(), query, product)


@pytest.fixture(scope="module")
def pair_of_tokenizers():
    """Ours with one long field, and the library's with its own pairs and its own truncation of the second text."""
    template = InputTemplate(fields=(TemplateField(name="title", max_tokens=1000),), max_query_tokens=24, max_tokens=48)
    library = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    library.no_padding()
    library.encode_special_tokens = True
    special = [(name, library.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    library.post_processor = TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special)
    library.enable_truncation(48, strategy="only_second")
    return PairTokenizer(MODEL / "tokenizer.json", template), library


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.lists(WORDS, min_size=1, max_size=60).map(" ".join))
def test_a_pair_is_cut_as_the_library_cuts_its_second_text(pair_of_tokenizers, query, title):
    ours, library = pair_of_tokenizers
    title = f"x{title}".encode(errors="replace").decode().strip()
    # The library refuses to leave nothing of what it cuts.
    query = ours.template.render_query(query)
    expected = library.encode(query, title)
    if len(library.encode(query, add_special_tokens=False).ids) > ours.template.max_query_tokens:
        return
    batch = ours.encode_pairs([(query, {"title": title})])
    assert batch.input_ids[0].tolist() == expected.ids
    assert batch.token_type_ids[0].tolist() == expected.type_ids

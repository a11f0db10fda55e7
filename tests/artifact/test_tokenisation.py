"""Pairs to token ids: limits, order, and text that means harm."""

import gc
import json
import pickle
import random
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import AddedToken, Tokenizer

from artifact import PRODUCT_FIELDS, ArtifactError, InputTemplate, PairFormat, PairTokenizer, TemplateField
from artifact.tokenisation import HEAD_CHARS_PER_TOKEN
from artifact.words import CHAR_BYTES, MAX_WORD_CHARS, WORD_BYTES, WordIds

from .conftest import IDS

# Everything that JSON can carry into a Python string, lone surrogates included.
IDS_SEP = 3
texts = st.text(st.characters(codec=None), max_size=60)
products = st.dictionaries(st.sampled_from(PRODUCT_FIELDS), st.none() | texts)


@pytest.fixture
def tokenizer(tokenizer_path, template):
    return PairTokenizer(tokenizer_path, template)


@pytest.fixture
def words(tokenizer_path):
    vocabulary = json.loads(tokenizer_path.read_text())["model"]["vocab"]
    names = {i: word for word, i in vocabulary.items()}
    return lambda ids: " ".join(names[int(i)] for i in ids)


def test_a_pair_is_query_then_product_between_special_tokens(tokenizer, words):
    batch = tokenizer.encode_pairs([("USB", {"title": "red charger", "brand": "acme"}), ("lamp", {"title": "a"})])
    assert words(batch.input_ids[0]) == "[CLS] usb [SEP] red charger acme [SEP]"
    assert words(batch.input_ids[1]) == "[CLS] lamp [SEP] a [SEP] [PAD] [PAD]"
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0]]
    assert {array.dtype for array in batch.feeds().values()} == {np.dtype(np.int64)}


def test_a_pair_longer_than_the_limit_loses_product_tokens_and_never_the_query(tokenizer, words):
    batch = tokenizer.encode_pairs([("a b c", {"title": "usb charger red lamp", "brand": "acme"})])
    assert words(batch.input_ids[0, :10]) == "[CLS] a b c [SEP] usb charger red lamp [SEP]"
    assert batch.attention_mask.sum() == 10


def test_a_query_longer_than_its_limit_is_cut_to_it(tokenizer, words):
    assert words(tokenizer.encode_query("a b c usb")) == "a b c"


def test_each_field_is_cut_to_its_share(tokenizer, words):
    (ids,) = tokenizer.encode_products([{"title": "a b c a b c", "brand": "acme lamp red"}])
    assert words(ids) == "a b c a acme lamp"


def test_a_field_that_stands_in_another_is_left_out(tokenizer, words):
    (ids,) = tokenizer.encode_products([{"title": "ACME lamp", "brand": "acme"}])
    assert words(ids) == "acme lamp"


@pytest.mark.parametrize("blank", [None, "", "   ", "\n\t"])
def test_a_blank_field_is_an_absent_one(tokenizer, blank):
    with_blank, without = tokenizer.encode_products([{"title": "lamp", "brand": blank}, {"title": "lamp"}])
    assert with_blank.tolist() == without.tolist()


def test_fields_that_the_template_does_not_read_change_nothing(tokenizer):
    one, two = tokenizer.encode_products([{"title": "lamp"}, {"title": "lamp", "gender": "red", "description": "usb"}])
    assert one.tolist() == two.tolist()


def test_a_special_token_spelled_in_a_text_is_plain_text(tokenizer, words):
    batch = tokenizer.encode_pairs([("usb [SEP]", {"title": "[SEP] lamp"})])
    assert words(batch.input_ids[0, :10]) == "[CLS] usb [ sep [SEP] [ sep ] lamp [SEP]"


@pytest.fixture
def tokenised(tokenizer):
    """All that is tokenised, words that are known already aside."""
    seen = []
    encode = tokenizer._encode
    tokenizer._words = WordIds(lambda texts: seen.extend(texts) or encode(texts), None)
    return seen


def test_a_megabyte_of_title_is_cut_before_it_is_tokenised(tokenizer, template, tokenised):
    (ids,) = tokenizer.encode_products([{"title": "lamp " * 200_000, "brand": "x" * 1_000_000}])
    assert sorted(map(len, tokenised)) == [len("lamp"), 2 * template.max_chars_per_token]
    assert len(ids) <= 6


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, st.lists(products, min_size=1, max_size=4))
def test_any_text_becomes_a_pair_within_the_limits(tokenizer, template, query, rows):
    batch = tokenizer.encode_pairs([(query, row) for row in rows])
    lengths = batch.attention_mask.sum(axis=1)
    assert lengths.max() <= template.max_tokens
    assert batch.input_ids.shape[1] == lengths.max()
    separators = (batch.input_ids == IDS_SEP).sum(axis=1)
    assert separators.tolist() == [2] * len(rows)
    assert batch.input_ids.max() < tokenizer.vocab_size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, products)
def test_the_length_that_is_foretold_is_the_length(tokenizer, query, product):
    query_ids, (product_ids,) = tokenizer.encode_query(query), tokenizer.encode_products([product])
    batch = tokenizer.collate([(query_ids, product_ids)])
    assert tokenizer.pair_length(len(query_ids), len(product_ids)) == batch.attention_mask.sum()


def test_no_pairs_are_an_empty_batch(tokenizer):
    assert tokenizer.collate([]).input_ids.shape == (0, 0)


def test_a_template_can_follow_another_family_of_models(tokenizer_path, template, words):
    form = PairFormat(before=("[CLS]",), between=("[SEP]", "[SEP]"), after=("[SEP]",))
    tokenizer = PairTokenizer(tokenizer_path, template.model_copy(update={"pair_format": form}))
    batch = tokenizer.encode_pairs([("usb", {"title": "lamp"})])
    assert words(batch.input_ids[0, :6]) == "[CLS] usb [SEP] [SEP] lamp [SEP]"


def test_a_tokenizer_without_the_template_s_special_tokens_is_refused(tokenizer_path, template):
    form = PairFormat(before=("<s>",), between=("</s>",), after=("</s>",), pad="<pad>")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: expected the special token '<s>'"):
        PairTokenizer(tokenizer_path, template.model_copy(update={"pair_format": form}))


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, template):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: expected a tokenizer\.json of the tokenizers library"):
        PairTokenizer(tmp_path / "tokenizer.json", template)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_query_tokens": 8}, "leaves no room for a product"),
        ({"fields": []}, "at least 1 item"),
        ({"fields": [{"name": "title", "max_tokens": 1}] * 2}, "every field may be listed once"),
        ({"fields": [{"name": "title", "max_tokens": 1, "omit_if_in": "title"}]}, "cannot be omitted"),
        ({"fields": [{"name": "price", "max_tokens": 1}]}, "Input should be 'title'"),
    ],
)
def test_a_template_that_cannot_work_is_refused(template, change, message):
    with pytest.raises(ValidationError, match=message):
        InputTemplate.model_validate({**template.model_dump(), **change})


def test_a_field_can_be_omitted_for_one_that_the_template_does_not_read(tokenizer_path, words):
    fields = (TemplateField(name="brand", max_tokens=4, omit_if_in="title"),)
    tokenizer = PairTokenizer(tokenizer_path, InputTemplate(fields=fields, max_query_tokens=4, max_tokens=12))
    (ids,) = tokenizer.encode_products([{"title": "acme lamp", "brand": "acme"}])
    assert words(ids) == "acme"


ODD = st.sampled_from(
    ["|", "usb|lamp", "usb", "charger", "zzzzzzzzzzzz", "e\u0301", "\u0130", "充电", "…", "\u00a0", "\n", "a" * 150]
)
WIDE = st.lists(ODD | st.text(), max_size=60).map(" ".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WIDE, min_size=1, max_size=5), st.sampled_from([0, 500, 1_000_000]), st.booleans())
def test_tokenising_by_known_words_gives_the_tokens_that_the_whole_text_begins_with(
    tokenizer, rows, max_bytes, together
):
    assert tokenizer._words is not None
    tokenizer._words = WordIds(tokenizer._encode, IDS["|"] if together else None, max_bytes)
    limits = [3 + i for i in range(len(rows))]
    whole = tokenizer._encode(rows)
    wanted = [ids[:n] for ids, n in zip(whole, limits, strict=True)]
    for _ in range(2):
        assert tokenizer.encode_heads(rows, limits) == wanted


def test_a_word_is_tokenised_once(tokenizer, tokenised):
    tokenizer.encode_products([{"title": "usb charger"}, {"title": "charger usb usb"}])
    tokenizer.encode_query("usb charger lamp")
    assert sorted(tokenised) == ["charger", "lamp", "usb"]


def test_unknown_words_are_tokenised_in_one_text(tokenizer):
    seen = []
    encode = tokenizer._encode
    words = WordIds(lambda texts: seen.append(texts) or encode(texts), IDS["|"])
    assert words.encode_heads(["usb lamp", "usb a|b"], [9, 9], 60) == encode(["usb lamp", "usb a|b"])
    assert [len(texts) for texts in seen] == [1, 1]
    assert seen[0] == ["a|b"]


@pytest.mark.parametrize("token", ["[UNK]", "usb", "[SEP]"])
def test_a_separator_that_is_also_something_else_or_never_comes_does_no_harm(tokenizer, token):
    words = WordIds(tokenizer._encode, IDS[token])
    texts = ["usb zzz lamp", "red yyy", "acme"]
    for _ in range(2):
        assert words.encode_heads(texts, [9, 9, 9], 60) == tokenizer._encode(texts)


def test_absurd_words_are_not_kept(tokenizer):
    words = WordIds(tokenizer._encode, IDS["|"])
    texts = ["usb " + "a" * MAX_WORD_CHARS, "lamp " + "b" * (MAX_WORD_CHARS + 1)]
    for _ in range(2):
        assert words.encode_heads(texts, [9, 9], 60) == [ids[:9] for ids in tokenizer._encode(texts)]
    assert sorted(words._known, key=len) == ["usb", "lamp", "a" * MAX_WORD_CHARS]


def test_the_memory_for_words_is_bounded_and_a_full_one_begins_anew(tokenizer):
    words = WordIds(tokenizer._encode, IDS["|"], max_bytes=20_000)
    for i in range(1000):
        texts = [f"word{i} usb", "a" * 50]
        assert words.encode_heads(texts, [9, 9], 60) == [ids[:9] for ids in tokenizer._encode(texts)]
        assert words._bytes == sum(WORD_BYTES + CHAR_BYTES * len(word) for word in words._known)
        assert words._bytes <= 20_000


def test_a_tokenizer_travels_to_other_processes_and_goes_with_its_last_user(tokenizer):
    products = [{"title": "usb charger"}]
    before = tokenizer.encode_products(products)[0].tolist()
    travelled = pickle.loads(pickle.dumps(tokenizer))
    assert travelled.encode_products(products)[0].tolist() == before
    gone = weakref.ref(travelled._words)
    gc.disable()
    try:
        del travelled
        assert gone() is None
    finally:
        gc.enable()


def test_threads_that_fill_the_words_again_and_again_get_their_own_tokens(tokenizer):
    words = WordIds(tokenizer._encode, IDS["|"], max_bytes=2_000)
    texts = [" ".join(f"{made}{i}" for made in ("usb", "charger", "lamp")) for i in range(40)]
    wanted = tokenizer._encode(texts)

    def work(seed):
        order = random.Random(seed).choices(range(len(texts)), k=500)
        return all(words.encode_heads([texts[i]], [99], 60) == [wanted[i]] for i in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


@pytest.mark.parametrize("space", [" ", "\u00a0", "\t"])
def test_an_added_token_of_two_words_is_found_where_a_head_would_end_between_them(
    tokenizer_path, template, tmp_path, space
):
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.add_tokens([AddedToken(f"usb{space}lamp", normalized=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenizer = PairTokenizer(tmp_path / "tokenizer.json", template)
    text = "usb lamp"
    assert tokenizer.encode_heads([text], [1]) == tokenizer._encode([text])


def test_only_the_head_of_a_long_text_is_tokenised(tokenizer, tokenised):
    tokenizer.encode_products([{"title": " ".join(f"usb{i}" for i in range(1000))}])
    chars = HEAD_CHARS_PER_TOKEN * max(field.max_tokens for field in tokenizer.template.fields)
    assert sum(map(len, tokenised)) <= chars

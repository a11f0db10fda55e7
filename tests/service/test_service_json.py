"""JSON that means harm is refused before it costs more than what it took to send it."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedBodyError
from service.json_bounds import check_values
from service.schemas import PRODUCT_KEYS, most_values, parse_score_request, score_request_model

HEAD = b'{"query": "usb", "products": [{"title": "x"}]'
MANY = 200_000
JSON = {"content-type": "application/json"}

nasty = st.text(st.sampled_from('"\\,:[]{}\n\u2028é😀' + string.ascii_letters), max_size=30)


def counted(body):
    """The least bound that lets a body pass."""
    low, high = 0, len(body)
    while low < high:
        middle = (low + high) // 2
        try:
            check_values(body, middle)
        except MalformedBodyError:
            low = middle + 1
        else:
            high = middle
    return low


@given(
    st.lists(st.dictionaries(st.sampled_from(sorted(PRODUCT_KEYS)), nasty, min_size=1), min_size=1, max_size=5),
    nasty,
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
)
def test_what_stands_in_strings_is_not_counted(products, query, ascii_only, indent):
    asked = {"query": query, "products": products, "partial": False, "timeout_ms": 1.5}
    body = json.dumps(asked, ensure_ascii=ascii_only, indent=indent).encode()
    values = 1 + 2 * 4 + sum(1 + 2 * len(product) for product in products)
    assert counted(body) <= values


def test_values_are_counted_outside_strings():
    assert counted(b'[1,2,{"a":[3]}]' + b" " * 100) == 6
    assert counted(b'["' + b",:[{" * 1000 + rb'\\"]') == 1
    assert counted(rb'["\"", 2]' + b" " * 100) == 2
    assert counted(b'""' * 1000) == 1000


@pytest.mark.parametrize("max_products", [1, 7, 1000])
def test_a_request_with_all_there_is_passes_and_one_with_twice_the_products_is_told_so(max_products):
    product = dict.fromkeys(PRODUCT_KEYS, ",") | {"title": ",".join('"\\[{:,' * 10)}
    fields = {"query": "usb", "timeout_ms": 5, "partial": True, "model": None}
    model, most = score_request_model(max_products), most_values(max_products)
    body = json.dumps(fields | {"products": [product] * max_products}).encode()
    assert len(parse_score_request(model, body, most).products) == max_products
    check_values(json.dumps(fields | {"products": [product] * 2 * max_products}).encode(), most)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (HEAD + b', "a": [' + b"[]," * MANY + b"[]]}", 400),
        (HEAD + b', "a": [' + b"1," * MANY + b"1]}", 400),
        (HEAD + b"".join(b', "%d": 1' % i for i in range(MANY // 2)) + b"}", 400),
        (HEAD + b', "partial": true' * (MANY // 2) + b"}", 400),
        (b'{"query": "usb", "products": [' + b"{}," * MANY + b"{}]}", 400),
        (b'{"query": [' + b'"",' * MANY + b'""], "products": []}', 400),
        (HEAD + b', "a": ' + b"[" * 150 + b"]" * 150 + b"}", 422),
        (HEAD + b', "a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400),
        (HEAD + b', "timeout_ms": ' + b"9" * MANY + b"}", 400),
        (HEAD + b', "a": ' + b"9" * 4000 + b"}", 422),
        (HEAD + b', "timeout_ms": 1e' + b"9" * MANY + b"}", 422),
        (HEAD + b', "a": NaN}', 422),
        (HEAD + b', "\\ud800": 1}', 400),
        (b"\xef\xbb\xbf" + HEAD + b"}", 400),
        ((HEAD + b"}").decode().encode("utf-16"), 400),
        (b"\x00" * MANY, 400),
    ],
    ids=[
        *("lists", "numbers", "keys", "same-key", "products", "strings", "nested", "deep", "huge-integer"),
        *("big-integer", "huge-exponent", "nan", "surrogate-key", "bom", "utf-16", "nul"),
    ],
)
def test_hostile_json_is_a_problem_of_the_caller(service, body, status):
    answer = service.client.post("/score", content=body, headers=JSON)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 5000


def test_of_a_key_that_comes_twice_the_last_counts(service):
    body = b'{"query": "", "query": "usb", "products": [], "products": [{"title": 1, "title": "x"}]}'
    assert service.client.post("/score", content=body, headers=JSON).status_code == 200

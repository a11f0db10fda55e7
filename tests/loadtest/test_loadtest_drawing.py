"""Drawn traffic: sizes, a Zipf head, plausible candidates, exact repeats; the same for the same seed."""

import json
import random
import statistics
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.errors import LoadtestError, TrafficError
from loadtest.traffic.catalogue import Catalogue
from loadtest.traffic.drawing import Law, Shop, draw_requests
from loadtest.traffic.requests import make_request
from loadtest.traffic.sizes import parse_sizes
from loadtest.traffic.source import Source

KINDS = ("charger", "shoe", "lamp", "cable", "desk", "kettle")
PRODUCTS = [
    {"id": f"{kind}{number}", "title": f"{kind} model {number}", "brand": "", "color": "red"}
    for kind in KINDS
    for number in range(40)
]
SHOP = Shop({f"{kind} {word}": 1 for kind in KINDS for word in ("red", "cheap")}, Catalogue.of(PRODUCTS), "shop")


def draw(count=300, *, shop=SHOP, sizes="8", exponent=1.0, repeat_share=0.0, seed=1):
    return draw_requests(shop, Law(parse_sizes(sizes), exponent, repeat_share, seed), [None] * count)


def test_equal_arguments_give_equal_requests_and_a_longer_run_starts_like_a_shorter_one():
    law = {"sizes": "1-20", "repeat_share": 0.3}
    assert draw(**law).all() == draw(**law).all()
    assert draw(50, **law).all() == draw(**law).all()[:50]
    assert draw(**law, seed=2).all() != draw(**law).all()


def test_a_request_is_what_would_have_been_made_of_its_query_and_products():
    drawn = draw(20)
    assert len(drawn) == 20
    for request in drawn.all():
        assert request == make_request(request.query, request.products)
        assert json.loads(request.body)["products"][0]["id"]


def test_candidates_share_words_with_their_query_where_products_do():
    for request in draw(sizes="13").all():
        kind = request.query.split()[0]
        assert all(product["title"].startswith(kind) for product in request.products)
        assert len({product["id"] for product in request.products}) == 13


def test_where_too_few_products_match_any_fill_the_list():
    shop = Shop({"kettle": 1, "nothing like it": 1}, SHOP.catalogue, "shop")
    assert {len(request.products) for request in draw(shop=shop, sizes="200").all()} == {200}


def test_queries_come_as_often_as_zipf_says_the_most_frequent_of_the_file_first():
    queries = {f"lamp {number}": 1 for number in range(20)} | {"lamp head": 9}
    drawn = draw(4000, shop=Shop(queries, SHOP.catalogue, "shop"), sizes="1-30")
    counts = Counter(request.query for request in drawn.all()).most_common()
    assert counts[0][0] == "lamp head"
    assert counts[0][1] / counts[1][1] == pytest.approx(2, rel=0.2)
    assert drawn.head_share == counts[0][1] / 4000
    assert drawn.asked == 21
    even = Counter(request.query for request in draw(4000, sizes="1-30", exponent=0.0).all())
    assert min(even.values()) > 0.7 * max(even.values())


@settings(deadline=None, max_examples=20)
@given(share=st.floats(0, 0.9), seed=st.integers())
def test_as_many_requests_are_exact_repeats_as_were_asked_for(share, seed):
    drawn = draw(1000, repeat_share=share, seed=seed)
    bodies = [request.body for request in drawn.all()]
    repeats = len(bodies) - len(set(bodies))
    assert repeats == drawn.repeats
    # Five standard deviations of a binomial count.
    assert abs(repeats - 1000 * share) <= 5 * (1000 * share * (1 - share)) ** 0.5 + 1


def test_what_cannot_but_repeat_does():
    shop = Shop({"lamp": 1}, Catalogue.of(PRODUCTS[:1]), "shop")
    assert draw(10, shop=shop, sizes="1").repeats == 9


def test_sizes_that_are_given_are_kept_and_repeated_among_their_like():
    sizes = [3, None, 1, 3, 200] * 40
    law = Law(parse_sizes("8"), 1.0, 0.5, 1)
    drawn = draw_requests(SHOP, law, sizes)
    assert [len(request.products) for request in drawn.all()] == [
        size or len(drawn.request(number).products) for number, size in enumerate(sizes)
    ]
    assert 60 < drawn.repeats < 140


def test_a_catalogue_too_small_for_a_request_is_refused():
    with pytest.raises(TrafficError, match="shop: expected at least 500 products for requests of so many, found 240"):
        draw(sizes="1:0.9,500:0.1")


@pytest.mark.parametrize(
    ("text", "least", "most", "fixed"),
    [("64", 64, 64, 64), ("10-500", 10, 500, None), ("1:0.7,64:2,100-200:0.1", 1, 200, None), ("7:1,7:2", 7, 7, 7)],
)
def test_sizes_lie_in_their_spans(text, least, most, fixed):
    sizes = parse_sizes(text)
    drawn = [sizes.draw(random.Random(number)) for number in range(2000)]
    assert least <= min(drawn) <= max(drawn) <= most == sizes.most
    assert sizes.fixed == fixed


def test_weights_say_how_often_a_size_comes():
    sizes = parse_sizes("1:7, 64:2, 500:1")
    made_random = random.Random(1)
    counts = Counter(sizes.draw(made_random) for _ in range(10_000))
    assert {size: round(count / 10_000, 1) for size, count in counts.items()} == {1: 0.7, 64: 0.2, 500: 0.1}


def test_a_range_gives_each_number_as_often():
    sizes = parse_sizes("10-19")
    made_random = random.Random(1)
    counts = Counter(sizes.draw(made_random) for _ in range(10_000))
    assert set(counts) == set(range(10, 20))
    assert min(counts.values()) > 850


def test_a_lognormal_has_its_median_and_its_p99():
    sizes = parse_sizes("lognormal:64:400")
    made_random = random.Random(1)
    drawn = sorted(sizes.draw(made_random) for _ in range(20_000))
    assert statistics.median(drawn) == pytest.approx(64, abs=3)
    assert drawn[19_800] == pytest.approx(400, rel=0.1)
    assert 1 <= drawn[0] <= drawn[-1] <= 1000
    assert sizes.fixed is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        *((text, "expected like 64, 10-500, 1:0.7") for text in ("", "x", "64:1", "1:0.5,64", "1-2-3", "1:a,2:1")),
        *((text, "expected like 64, 10-500") for text in ("-5", "6.5", "lognormal:64", "lognormal:a:b", "1:1,")),
        *((text, "expected 1 to 1000, the smaller first") for text in ("0", "1001", "9-3", "1:1,5-2000:1")),
        *((text, "expected weights above 0") for text in ("1:0,2:1", "1:-1,2:1", "1:nan,2:1", "1:inf,2:1")),
        *((text, "expected a median of at least 1, below a p99") for text in ("lognormal:64:64", "lognormal:0:5")),
    ],
)
def test_a_distribution_that_is_none_is_refused(text, complaint):
    with pytest.raises(LoadtestError) as caught:
        parse_sizes(text)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("--products: ")


@pytest.fixture
def files(tmp_path):
    def write(name, *lines):
        path = tmp_path / name
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return path

    return write


def test_queries_and_products_may_come_from_files_of_their_own(files):
    traffic = files("queries.jsonl", {"query": "lamp"}, {"query": "shoe", "count": 3}, {"query": "lamp"})
    catalogue = files("products.jsonl", *PRODUCTS)
    drawn, words = Source(traffic, catalogue, sizes=parse_sizes("5")).draw([None] * 200)
    counts = Counter(request.query for request in drawn.all())
    assert counts["lamp"] > counts["shoe"] > 0
    assert {product["title"].split()[0] for request in drawn.all() for product in request.products} == {"lamp", "shoe"}
    assert f"drawn from the queries of {traffic} and the products of {catalogue}: 200 requests of 5" in words


def test_a_catalogue_may_be_csv(files):
    heading = "product_id,title,brand,colour,category,short_description"
    catalogue = files("products.csv", heading, *(f"{n},lamp {n},Brand,red,lamps,bright" for n in range(9)))
    traffic = files("queries.jsonl", {"query": "lamp"})
    drawn, _ = Source(traffic, catalogue, sizes=parse_sizes("9")).draw([None])
    assert drawn.request(0).products[0].keys() == {"id", "title", "brand", "color", "product_type", "description"}


def test_a_traffic_file_gives_both_and_so_do_synthetic_requests(files):
    traffic = files("t.jsonl", *({"query": kind, "products": PRODUCTS[:20]} for kind in KINDS))
    drawn, words = Source(traffic, zipf=0.5, sizes=parse_sizes("20")).draw([None] * 30)
    assert {request.query for request in drawn.all()} <= set(KINDS)
    assert drawn.products == 20
    assert "Zipf exponent 0.5" in words
    drawn, words = Source(repeat_share=0.5).draw([None] * 30)
    assert {len(request.products) for request in drawn.all()} == {64}
    assert "drawn from synthetic requests" in words


def test_traffic_is_taken_as_it_stands_unless_something_asks_for_drawing(files):
    assert not Source(files("t.jsonl", {})).drawn
    asking = ({"zipf": 0}, {"repeat_share": 0.1}, {"traffic": files("t.jsonl", {}), "catalogue": files("c.jsonl", {})})
    assert all(Source(**options).drawn for options in asking)


def test_a_pool_of_several_sizes_is_made_up_by_seed():
    source = Source(distinct=60, sizes=parse_sizes("1-9"))
    assert {len(request.products) for request in source.pool().requests} == set(range(1, 10))
    assert source.pool() == source.pool()
    assert source.pool().source == "synthetic (60 requests of 1-9 products, seed 1)"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"zipf": -1}, "--zipf: expected 0 to 2, found -1"),
        ({"zipf": float("nan")}, "--zipf: expected 0 to 2, found nan"),
        ({"repeat_share": 1}, "--repeat-share: expected 0 to below 1, found 1"),
        ({"catalogue": "x"}, "--catalogue: expected --traffic with it"),
    ],
)
def test_impossible_knobs_are_refused(options, complaint):
    with pytest.raises(LoadtestError, match=complaint):
        Source(**options)


@pytest.mark.parametrize(
    ("query", "product", "complaint"),
    [
        ({"q": "lamp"}, PRODUCTS[0], "queries.jsonl line 1: query: expected text, found null"),
        ({"query": "\ud800"}, PRODUCTS[0], "queries.jsonl line 1: query: expected text that UTF-8 can write"),
        ({"query": "lamp"}, {"title": ""}, "products.jsonl line 1.title: expected text, found blanks"),
        ({"query": "lamp"}, {"title": "x", "price": 1}, "products.jsonl line 1: price: unknown field"),
        ({"query": "lamp"}, {"title": "\udc00"}, "products.jsonl line 1: expected text that UTF-8 can write"),
    ],
)
def test_a_malformed_line_is_named_with_file_and_field(files, query, product, complaint):
    source = Source(files("queries.jsonl", query), files("products.jsonl", product), sizes=parse_sizes("1"))
    with pytest.raises(TrafficError) as caught:
        source.draw([None])
    assert complaint in str(caught.value)

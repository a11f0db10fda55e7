"""Traffic files are checked line by line; synthetic traffic is plausible and the same for the same seed."""

import gzip
import json
import statistics

import pytest

from loadtest.errors import TrafficError
from loadtest.traffic.requests import load_traffic, make_request, read_traffic

GOOD = {"query": "usb c charger", "products": [{"title": "65W charger", "brand": None}]}


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_a_request_is_sent_as_it_stands_in_the_file(tmp_path):
    line = '{"query": "café",  "products": [{"title": "x", "id": "7"}], "timeout_ms": 40}'
    (tmp_path / "traffic.jsonl").write_text(f"{line}\n\n", encoding="utf-8")
    (request,) = read_traffic(tmp_path / "traffic.jsonl")
    assert request.body == line.encode()
    assert request.query == "café"


def test_a_compressed_file_is_read_too(tmp_path):
    with gzip.open(tmp_path / "traffic.jsonl.gz", "wt") as file:
        file.write(json.dumps(GOOD))
    assert len(read_traffic(tmp_path / "traffic.jsonl.gz")) == 1


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: expected JSON"),
        ("[" * 100_000, "line 2: expected JSON"),
        ("[]", "line 2: expected an object, found a list"),
        ({"products": []}, "line 2: query: missing"),
        ({"query": "x"}, "line 2: products: missing"),
        ({**GOOD, "page": 1}, "line 2: page: unknown field"),
        ({**GOOD, "query": 5}, "line 2: query: expected text, found a number"),
        ({**GOOD, "query": " "}, "line 2: query: expected text, found blanks"),
        ({**GOOD, "query": "x" * 513}, "line 2: query: expected at most 512 characters, found 513"),
        ({**GOOD, "products": {}}, "line 2: products: expected a list of 1 to 1000 products, found an object"),
        ({**GOOD, "products": []}, "line 2: products: expected a list of 1 to 1000 products, found 0"),
        ({**GOOD, "products": [{"title": "a"}, "b"]}, "line 2: products[1]: expected an object, found text"),
        ({**GOOD, "products": [{"brand": "a"}]}, "line 2: products[0]: title: missing"),
        ({**GOOD, "products": [{"title": None}]}, "line 2: products[0].title: expected text, found null"),
        (
            {**GOOD, "products": [{"title": "a", "color": True}]},
            "products[0].color: expected text, found a truth value",
        ),
        ({**GOOD, "products": [{"title": "a", "price": 1}]}, "line 2: products[0]: price: unknown field"),
    ],
)
def test_a_malformed_line_is_named_with_its_field(tmp_path, line, complaint):
    path = write(tmp_path / "traffic.jsonl", GOOD, line)
    with pytest.raises(TrafficError) as caught:
        read_traffic(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_an_empty_and_a_binary_file_are_refused(tmp_path):
    with pytest.raises(TrafficError, match="cannot be read"):
        read_traffic(tmp_path / "none.jsonl")
    with pytest.raises(TrafficError, match="expected at least one request"):
        read_traffic(write(tmp_path / "empty.jsonl"))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrafficError, match="cannot be read"):
        read_traffic(tmp_path / "binary.jsonl")


def test_absent_fields_are_left_out_of_a_made_request():
    request = make_request("q", [{"title": "a", "brand": "", "color": None}])
    assert json.loads(request.body) == {"query": "q", "products": [{"title": "a"}]}


def synthetic(seed=1, requests=60):
    return load_traffic(None, requests=requests, products=64, seed=seed)


def test_synthetic_traffic_is_the_same_for_the_same_seed():
    assert synthetic().requests == synthetic().requests
    assert synthetic().requests != synthetic(seed=2).requests
    assert synthetic(requests=10).requests == synthetic().requests[:10]


def test_synthetic_traffic_obeys_the_contract(tmp_path):
    path = tmp_path / "traffic.jsonl"
    path.write_bytes(b"\n".join(request.body for request in synthetic().requests))
    assert [request.query for request in read_traffic(path)] == [request.query for request in synthetic().requests]
    assert all(len(request.products) == 64 for request in synthetic().requests)


def test_synthetic_titles_have_lengths_like_real_ones():
    lengths = [len(product["title"].split()) for request in synthetic().requests for product in request.products]
    assert 7 <= statistics.median(lengths) <= 12
    assert statistics.quantiles(lengths, n=20)[-1] >= 1.8 * statistics.median(lengths)


def test_the_report_knows_where_the_traffic_comes_from(tmp_path):
    assert synthetic().synthetic
    assert "synthetic (60 requests of 64 products, seed 1)" in synthetic().source
    path = write(tmp_path / "mine.jsonl", GOOD)
    traffic = load_traffic(path, requests=1, products=1, seed=1)
    assert not traffic.synthetic
    assert "mine.jsonl (1 requests of 1 products)" in traffic.source

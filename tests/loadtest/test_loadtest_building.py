"""Traffic is built from judgements and a catalogue: rated products, then neighbours, then any."""

import csv
import gzip
import json

import pytest

from loadtest.errors import TrafficError
from loadtest.traffic.building import build_traffic
from loadtest.traffic.catalogue import Columns
from loadtest.traffic.distinct import distinct_requests
from loadtest.traffic.requests import read_traffic

PRODUCTS = [
    *[(f"c{i}", f"usb charger model {i}", "Anker", "black", "charger", f"Charges {i}") for i in range(12)],
    *[(f"s{i}", f"running shoe {i}", "Run", "", "shoes", "") for i in range(20)],
    ("blank", " ", "Nobody", "", "", ""),
]
RATINGS = [("usb charger", "s3"), ("usb charger", "c1"), ("usb charger", "gone"), ("running shoe", "s1")]


@pytest.fixture
def data(tmp_path):
    with (tmp_path / "ratings.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("query", "product_id"), *RATINGS])
    with gzip.open(tmp_path / "products.csv.gz", "wt", newline="") as file:
        header = ("product_id", "title", "brand", "colour", "category", "short_description")
        csv.writer(file).writerows([header, *PRODUCTS])
    return tmp_path


def build(data, **changes):
    out = data / "traffic.jsonl"
    settings = {"columns": Columns(), "products": 8, "requests": None, "seed": 1, **changes}
    built = build_traffic(data / "ratings.csv", data / "products.csv.gz", out, **settings)
    return built, read_traffic(out)


def ids(request):
    return [product["id"] for product in request.products]


def test_every_query_gets_its_rated_products_and_neighbours(data):
    built, (charger, shoe) = build(data)
    assert (charger.query, shoe.query) == ("usb charger", "running shoe")
    assert {"s3", "c1"} <= set(ids(charger))
    assert sum(product_id.startswith("c") for product_id in ids(charger)) == 7
    assert "s1" in ids(shoe)
    assert all(product_id.startswith("s") for product_id in ids(shoe))
    assert (built.requests, built.queries, built.products, built.rated_missing) == (2, 2, 32, 1)


def test_columns_become_the_fields_of_the_contract(data):
    _, (charger, _) = build(data)
    product = next(product for product in charger.products if product["id"] == "c1")
    assert product == {
        "id": "c1",
        "title": "usb charger model 1",
        "brand": "Anker",
        "color": "black",
        "product_type": "charger",
        "description": "Charges 1",
    }


def test_a_list_is_filled_with_any_products_when_neighbours_run_out(data):
    _, (charger, _) = build(data, products=30)
    assert len(set(ids(charger))) == 30


def test_the_same_seed_builds_the_same_file_and_another_seed_another(data):
    build(data)
    first = (data / "traffic.jsonl").read_bytes()
    build(data)
    assert (data / "traffic.jsonl").read_bytes() == first
    build(data, seed=2)
    assert (data / "traffic.jsonl").read_bytes() != first


def test_more_requests_than_queries_repeat_queries_with_other_candidates(data):
    _, requests = build(data, requests=4)
    assert [request.query for request in requests] == ["usb charger", "running shoe"] * 2
    assert ids(requests[0]) != ids(requests[2])


def test_distinct_pairs_never_bring_a_title_to_a_query_again(data):
    with gzip.open(data / "products.csv.gz", "at", newline="") as file:
        csv.writer(file).writerow(("c1-again", "USB  Charger model 1", "Anker", "white", "charger", ""))
    _, requests = build(data, requests=8, distinct_pairs=True)
    for query in ("usb charger", "running shoe"):
        titles = [p["title"].lower().split() for r in requests if r.query == query for p in r.products]
        assert len(titles) == 4 * 8
        assert all(titles.count(title) == 1 for title in titles)
    assert sum(product_id.startswith("c") for product_id in ids(requests[0])) == 7
    assert {"s3", "c1"} <= set(ids(requests[0]))
    assert distinct_requests(requests, 8, "file") == requests


def test_distinct_pairs_end_with_the_catalogue(data):
    with pytest.raises(TrafficError, match=r"expected 8 more titles for the query .*, the catalogue has 0"):
        build(data, requests=10, distinct_pairs=True)


def test_other_column_names_can_be_given_and_fields_left_out(data):
    (data / "ratings.csv").write_text("q,pid\nusb charger,c1\n")
    with gzip.open(data / "products.csv.gz", "wt") as file:
        file.write("pid,name\n" + "\n".join(f"c{i},usb charger {i}" for i in range(9)))
    columns = Columns("q", "pid", "name", "", "", "", "")
    _, (request,) = build(data, columns=columns)
    assert set(request.products[0]) == {"id", "title"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"columns": Columns(query="search")}, "ratings.csv: expected a column 'search', found query, product_id"),
        ({"columns": Columns(brand="maker")}, "products.csv.gz: expected a column 'maker', found product_id, title"),
        ({"columns": Columns(title="")}, "title column must have a name"),
        ({"products": 33}, "expected at least 33 products, found 32"),
        ({"requests": 10**9}, "expected at most"),
    ],
)
def test_what_does_not_fit_is_named(data, changes, complaint):
    with pytest.raises(TrafficError) as caught:
        build(data, **changes)
    assert complaint in str(caught.value)


def test_a_missing_or_broken_file_is_named(data):
    (data / "products.csv.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(TrafficError, match=r"products\.csv\.gz: cannot be read"):
        build(data)
    (data / "ratings.csv").unlink()
    with pytest.raises(TrafficError, match=r"ratings\.csv: cannot be read"):
        build(data)


def test_the_command_builds_the_file_and_says_so(data, loadtest):
    out = data / "out.jsonl"
    paths = ["--judgements", data / "ratings.csv", "--catalogue", data / "products.csv.gz", "--out", out]
    done = loadtest("traffic", *paths, "--products", 5, "--requests", 3, "--distinct-pairs")
    assert done.returncode == 0, done.stderr
    assert "3 requests of 5 products" in done.stdout
    assert "1 rated products are not in the catalogue" in done.stderr
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 3


def test_the_command_ends_with_one_line_on_bad_data(data, loadtest):
    paths = ["--judgements", data / "none.csv", "--catalogue", data / "products.csv.gz", "--out", data / "out.jsonl"]
    done = loadtest("traffic", *paths)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none.csv" in done.stderr

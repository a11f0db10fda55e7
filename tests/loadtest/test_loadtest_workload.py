"""The requests and arrivals of the promise commands."""

import argparse
import json

from loadtest.client import Endpoint
from loadtest.promises.overload import phases_of
from loadtest.promises.workload import add_traffic_options, arrivals_of, open_plan, requests_of, resized
from loadtest.traffic.requests import make_request

ENDPOINT = Endpoint.parse("http://127.0.0.1:8080")


def traffic(requests=3, products=4):
    return [
        make_request(f"query {number}", [{"title": f"title {number}-{index}"} for index in range(products)])
        for number in range(requests)
    ]


def titles(request):
    return [product["title"] for product in request.products]


def test_a_file_gives_requests_of_any_size_that_keep_their_own_products_first():
    for products in (2, 4, 9):
        made = resized(traffic(), products, 3)
        assert [len(request.products) for request in made] == [products] * 3
        assert titles(made[1])[: min(4, products)] == [f"title 1-{index}" for index in range(min(4, products))]
        assert all(len(json.loads(request.body)["products"]) == products for request in made)


def test_calls_of_one_product_are_as_many_as_asked_for_and_distinct_where_the_file_allows():
    made = resized(traffic(), 1, 12)
    assert len({(request.query, *titles(request)) for request in made}) == 12


def test_requests_come_from_a_file_or_are_made_up(tmp_path):
    parsed = argparse.Namespace(traffic=None, distinct=5, seed=1)
    assert [request.products for request in requests_of(parsed, ENDPOINT, 7, {})] == [7] * 5
    parsed.traffic = tmp_path / "mine.jsonl"
    parsed.traffic.write_text("\n".join(request.body.decode() for request in traffic()))
    made = requests_of(parsed, ENDPOINT, 2, {"x-request-timeout-ms": "9"})
    assert [request.products for request in made] == [2] * 3
    assert b"title 0-0" in made[0].data
    assert b"\r\nx-request-timeout-ms: 9\r\n" in made[0].data


def test_requests_are_drawn_where_the_options_ask_for_it(tmp_path):
    parser = argparse.ArgumentParser()
    add_traffic_options(parser)
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(request.body.decode() for request in traffic(requests=5)))
    options = [f"--traffic={file}", "--distinct=40", "--repeat-share=0.5"]
    made = requests_of(parser.parse_args(options), ENDPOINT, 6, {})
    assert [request.products for request in made] == [6] * 40
    assert 5 < len({request.data for request in made}) < 35
    taken = requests_of(parser.parse_args(options[:2]), ENDPOINT, 4, {})
    assert len({request.data for request in taken}) == len(taken) == 5


def test_phases_follow_one_another_and_arrivals_fill_them_at_their_rates():
    phases = phases_of([(1, 100), (10, 50)])
    assert [(phase.start_s, phase.end_s) for phase in phases] == [(0, 100), (100, 150)]
    plan = open_plan(
        ENDPOINT,
        [],
        [
            arrival
            for phase in phases
            for arrival in arrivals_of(20 * phase.factor, phase.seconds, 7, 1, start_s=phase.start_s)
        ],
    )
    counts = [sum(phase.holds(due_s) for due_s, _ in plan.arrivals) for phase in phases]
    assert 1800 < counts[0] < 2200
    assert 9500 < counts[1] < 10500
    assert {number for _, number in plan.arrivals} == set(range(7))
    assert list(plan.arrivals) == sorted(plan.arrivals)


def test_equal_seeds_give_equal_arrivals_of_the_requests_they_are_for():
    assert arrivals_of(50, 10, 4, 3, first=100) == arrivals_of(50, 10, 4, 3, first=100)
    assert arrivals_of(50, 10, 4, 3) != arrivals_of(50, 10, 4, 4)
    assert {number for _, number in arrivals_of(50, 10, 4, 3, first=100)} == {100, 101, 102, 103}

"""What a run will send is decided by its options alone: arrivals of each kind, and the request of each arrival."""

import gzip
import json

import pytest

from loadtest.errors import LoadtestError, TrafficError
from loadtest.options import RunOptions
from loadtest.run_plan import plan_run

OWN = {"query": "its own", "products": [{"title": "café"}, {"title": "b"}], "timeout_ms": 40}


@pytest.fixture
def trace(tmp_path):
    def write(*lines, name="trace.jsonl"):
        path = tmp_path / name
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
        return str(path)

    return write


def planned(**options):
    return plan_run(RunOptions(**{"products": "4", "distinct": 5, "warmup_s": 0.0, **options}))


def requests(plan):
    return [plan.request(arrival.request) for arrival in plan.schedule]


def replay(path, **options):
    return planned(arrivals="trace", trace=path, **options)


@pytest.mark.parametrize(
    "options", [{}, {"arrivals": "burst"}, {"zipf": 1.0, "products": "1-9"}, {"repeat_share": 0.5}, {"products": "2-4"}]
)
def test_equal_options_give_equal_plans_and_another_seed_another(options):
    one, same, other = (planned(rate=20, seed=seed, **options) for seed in (1, 1, 2))
    assert (one.schedule, requests(one)) == (same.schedule, requests(same))
    assert [arrival.due_s for arrival in one.schedule] != [arrival.due_s for arrival in other.schedule]
    assert requests(one) != requests(other)
    assert (one.arrivals, one.traffic, one.counted_s) == (same.arrivals, same.traffic, 30)


def test_the_warm_up_is_not_counted():
    plan = planned(arrivals="burst", rate=20, warmup_s=5.0)
    assert plan.planned == sum(arrival.due_s >= 5 for arrival in plan.schedule) < len(plan.schedule)
    assert max(arrival.due_s for arrival in plan.schedule) < 35


def test_a_trace_is_played_at_its_times_from_its_first_arrival(trace):
    path = trace({"at_s": 1000.5}, {"at_s": 1000.75}, "", {"at_s": 1000.75}, {"at_s": 1003})
    plan = replay(path)
    assert [arrival.due_s for arrival in plan.schedule] == [0, 0.25, 0.25, 2.5]
    assert plan.counted_s == 2.5
    assert plan.planned == 4
    assert "trace.jsonl at 1 times its speed, 4 arrivals" in plan.arrivals
    assert plan.traffic == "synthetic (5 requests of 4 products, seed 1)"


def test_speed_warm_up_and_duration_cut_a_trace_to_what_is_played(trace):
    path = trace(*({"at_s": number} for number in range(100)))
    plan = replay(path, trace_speed=2.0, warmup_s=3.0, duration_s=10.0)
    assert [arrival.due_s for arrival in plan.schedule] == [number / 2 for number in range(26)]
    assert [arrival.counted for arrival in plan.schedule] == [False] * 6 + [True] * 20
    assert plan.counted_s == 10


def test_a_trace_may_hold_sizes_and_whole_requests(trace):
    path = trace({"at_s": 0, "products": 7}, {"at_s": 1, "request": OWN}, {"at_s": 2, "products": 1}, {"at_s": 3})
    plan = replay(path)
    first, own, single, any_size = requests(plan)
    assert [len(request.products) for request in (first, own, single, any_size)] == [7, 2, 1, 4]
    assert json.loads(own.body) == OWN
    assert (own.query, own.timeout_ms) == ("its own", 40)
    assert plan.traffic.startswith("1 of the trace's own requests, the others drawn from synthetic requests: 3 req")


def test_a_trace_of_whole_requests_needs_no_traffic(trace):
    path = trace({"at_s": 0, "request": OWN}, {"at_s": 1, "request": {**OWN, "query": "another"}})
    plan = replay(path, traffic="not there")
    assert [request.query for request in requests(plan)] == ["its own", "another"]
    assert plan.traffic == "the trace's own requests"


def test_a_compressed_trace_is_read_too(trace, tmp_path):
    (tmp_path / "trace.jsonl.gz").write_bytes(gzip.compress(b'{"at_s": 0}\n{"at_s": 0.5}\n'))
    assert len(replay(str(tmp_path / "trace.jsonl.gz")).schedule) == 2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: expected JSON"),
        ("3", "line 2: expected an object, found a number"),
        ({}, "line 2: at_s: missing"),
        ({"at_s": 1, "size": 3}, "line 2: size: unknown field, expected at_s, products, request"),
        ({"at_s": "1"}, "line 2: at_s: expected seconds, found text"),
        ({"at_s": True}, "line 2: at_s: expected seconds, found a truth value"),
        ('{"at_s": NaN}', "line 2: at_s: expected a finite number, found nan"),
        ({"at_s": 0.5}, "line 2: at_s: expected no earlier time than 1.0 of the line before, found 0.5"),
        ({"at_s": 1, "products": 0}, "line 2: products: expected a number from 1 to 1000, found 0"),
        ({"at_s": 1, "products": 1.5}, "line 2: products: expected a number from 1 to 1000, found 1.5"),
        ({"at_s": 1, "products": [{}]}, "line 2: products: expected a number from 1 to 1000, found a list"),
        ({"at_s": 1, "products": 2, "request": OWN}, "line 2: expected products or request, found both"),
        ({"at_s": 1, "request": "x"}, "line 2: request: expected an object, found text"),
        ({"at_s": 1, "request": {"query": "x"}}, "line 2: request: products: missing"),
        (
            {"at_s": 1, "request": {**OWN, "query": "\ud800"}},
            "line 2: request: expected text that UTF-8 can write",
        ),
    ],
)
def test_a_malformed_arrival_is_named_with_file_line_and_field(trace, line, complaint):
    path = trace({"at_s": 1}, line)
    with pytest.raises(TrafficError) as caught:
        replay(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_trace_is_refused(trace):
    with pytest.raises(TrafficError, match="expected at least one arrival, found none"):
        replay(trace(""))


def test_a_schedule_beyond_its_bound_is_refused_not_cut(trace):
    complaint = "--max-requests: the schedule has more arrivals than 10"
    with pytest.raises(LoadtestError, match=complaint):
        planned(rate=10, max_requests=10)
    path = trace(*({"at_s": number / 10} for number in range(11)))
    with pytest.raises(LoadtestError, match=complaint):
        replay(path, max_requests=10)
    assert len(replay(path, max_requests=11).schedule) == 11


@pytest.mark.parametrize("options", [{"arrivals": "trace"}, {"trace": "some.jsonl"}])
def test_a_trace_and_its_file_are_asked_for_together(options):
    with pytest.raises(LoadtestError, match="expected --arrivals trace and --trace FILE together"):
        RunOptions(**options)

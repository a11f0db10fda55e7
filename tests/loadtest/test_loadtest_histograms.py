"""Histograms are what HdrHistogram writes, lose at most a thousandth, and merge to what all values together give."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.histograms import count_of, described, distribution_of, encoded, merged
from loadtest.measure import Outcome, Sample, distribution


def latencies(*values_ms, outcome=Outcome.ACCEPTED):
    return [Sample(1.0, 1.0, 1.0 + value_ms / 1e3, outcome, 200) for value_ms in values_ms]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 3_600_000), min_size=1, max_size=60))
def test_percentiles_are_a_thousandth_off_at_most(values_ms):
    exact, rounded = distribution(values_ms), distribution_of(encoded(values_ms))
    for name in ("p50", "p90", "p99", "p999", "max"):
        assert getattr(rounded, name) == pytest.approx(getattr(exact, name), rel=1.1e-3, abs=1.1e-3)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.floats(0, 1e6), max_size=20), min_size=1, max_size=4))
def test_merging_is_as_if_all_values_had_been_in_one(runs):
    whole = merged(encoded(run) for run in runs)
    together = encoded([value for run in runs for value in run])
    assert distribution_of(whole) == distribution_of(together)
    assert count_of(whole) == sum(map(len, runs))


def test_a_histogram_is_in_the_format_of_other_tools():
    histogram = encoded([1, 2, 3])
    assert base64.b64decode(histogram)[:4] == b"\x1c\x84\x93\x14"  # The cookie of a compressed V2.


def test_no_values_and_too_large_ones_are_told():
    assert distribution_of(encoded([])) is None
    assert distribution_of(encoded([1e9])).max == pytest.approx(3_600_000, rel=1e-3)


@pytest.mark.parametrize("broken", ["", "abc", "HISTFAAA", "AAAA" * 20, 5, "é"])
def test_what_is_no_histogram_is_refused(broken):
    with pytest.raises(ValueError, match=r"no HDR histogram: ."):
        count_of(broken)


@pytest.fixture
def report(tmp_path):
    def write(name, contents):
        (tmp_path / name).write_text(contents if isinstance(contents, str) else json.dumps(contents))
        return tmp_path / name

    return write


def test_reports_are_merged_and_what_was_merged_can_be_merged_again(loadtest, report, tmp_path):
    first = report("a.json", {"histograms": described(latencies(10, 20) + latencies(1, outcome=Outcome.SHED))})
    second = report("b.json", {"histograms": described(latencies(30, 1000))})
    done = loadtest("merge", first, second, "--json", tmp_path / "both.json")
    assert done.returncode == 0, done.stderr
    assert "HDR-rounded to 3 significant digits" in done.stdout
    assert "accepted 4: p50 20.0" in done.stdout
    assert "shed 1: p50 1.00" in done.stdout
    assert "late 0\n" in done.stdout
    again = loadtest("merge", tmp_path / "both.json", second)
    assert "accepted 6: p50 30.0" in again.stdout
    assert json.loads((tmp_path / "both.json").read_text())["merged"]["accepted"]["latency_ms"]["p50"] == pytest.approx(
        20, rel=1e-3
    )


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        ("{", "a.json: cannot be read"),
        ("[]", "a.json: expected a report of `slo --json`, found no histograms"),
        ({"histograms": {"unit": "ms"}}, "a.json: expected histograms of 'us', found 'ms'"),
        (
            {"histograms": described([]), "verdict": {"name": "invalid"}},
            "a.json: the run was invalid and answers nothing",
        ),
        ({"histograms": described([]), "verdict": {"name": "interrupted"}}, "a.json: the run was interrupted"),
        ({"histograms": {**described([]), "late": "x"}}, "a.json: histograms.late: no HDR histogram"),
    ],
)
def test_a_report_that_cannot_be_merged_is_one_line_and_exit_2(loadtest, report, contents, complaint):
    done = loadtest("merge", report("a.json", contents))
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1

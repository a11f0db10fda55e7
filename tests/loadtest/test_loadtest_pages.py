"""The pages: read back as a browser reads them. Nothing from outside, nothing that a reader's text can break."""

import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.errors import LoadtestError
from loadtest.measure import Outcome, Sample, percentile
from loadtest.pages import (
    Line,
    Page,
    RatePoint,
    Span,
    Table,
    check_html_option,
    latency_cdf,
    latency_over_time,
    lines_over_time,
    outcomes_over_time,
    rate_against_p99,
    render,
    run_page,
    write_page,
)
from loadtest.pages.series import MOST_STRETCHES, by_stretch, cumulative, edges_of, thinned

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert('reason')</script>"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Collects what stands in a page and insists that every element is closed where it should be."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attr) for attr in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def samples(count=2000, seconds=100.0, seed=1):
    made = random.Random(seed)
    found = []
    for _ in range(count):
        due_s, outcome = made.uniform(0, seconds), made.choices(list(Outcome), (90, 6, 3, 1))[0]
        took_s = made.lognormvariate(-4, 0.5)
        found.append(Sample(due_s, due_s, due_s + took_s, outcome, 200, HOSTILE if outcome == "failed" else None))
    return found


def page(found=None, **more):
    table = Table([("promise", "measured", ""), ("p99", "12 ms", "held"), (HOSTILE, "3", "BROKEN")], "checks")
    return run_page(
        "loadtest slo",
        samples=samples() if found is None else found,
        conditions=["server http://127.0.0.1:8080", HOSTILE],
        verdict="BROKEN",
        because=[f"1 x {HOSTILE}"],
        tables=[table],
        limit_ms=50.0,
        **more,
    )


def every_figure():
    spans = [Span("1x", 0, 40), Span(HOSTILE, 40, 100)]
    lines = [
        Line("memory", "MB", [(0, 1.0), (50, 2.0)]),
        Line(HOSTILE, "", [(0, 5.0), (50, 5.0)]),
        Line("none", "", []),
    ]
    points = [RatePoint("ours", 10, 20.0, True), RatePoint("ours", 20, 90.0, False), RatePoint(HOSTILE, 5, None)]
    return [
        latency_over_time(samples(), limit_ms=50.0, spans=spans),
        outcomes_over_time(samples(), spans=spans),
        latency_cdf({"accepted": [1.0, 2.0], HOSTILE: [3.0]}, limit_ms=2.0),
        rate_against_p99([*points, RatePoint(HOSTILE, 6, 7.0)], limit_ms=50.0),
        lines_over_time(lines, spans=spans),
    ]


@pytest.fixture(scope="module")
def pictures():
    return every_figure()


@pytest.fixture(scope="module")
def run_html():
    return render(page())


def test_a_page_is_whole_html_with_its_pictures_inside(run_html):
    read = Reader(run_html)
    assert read.tags.count("svg") == 3
    assert {"main", "table", "figure", "figcaption"} <= set(read.tags)
    assert "BROKEN" in read.text


def test_a_page_refers_to_nothing_outside(pictures):
    html = render(Page("all", ["http://127.0.0.1:8080"], "HELD", [], pictures))
    read = Reader(html)
    assert not {"script", "link", "img", "iframe", "image", "object"} & set(read.tags)
    links = [value for _, name, value in read.attributes if name in ("src", "href", "xlink:href", "action", "data")]
    assert links
    assert all(value.startswith("#") for value in links)
    values = " ".join(value or "" for _, name, value in read.attributes if name != "aria-label")
    assert not re.search(r"https?:|//|@import", values)
    assert not re.search(r"@import|url\((?!#)", html)


def test_pictures_do_not_share_ids_and_every_reference_is_met(pictures):
    read = Reader(render(Page("all", [], "HELD", [], pictures)))
    ids = [value for _, name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = {
        found for _, _, value in read.attributes for found in re.findall(r"^(?:url\()?#([\w.-]+)\)?$", value or "")
    }
    assert wanted == set(ids)


def test_hostile_text_is_text_everywhere(pictures, run_html):
    table = Table([(HOSTILE,), (HOSTILE,)], HOSTILE)
    for html in (run_html, render(Page(HOSTILE, [HOSTILE], HOSTILE, [table], pictures, [HOSTILE]))):
        assert "<script" not in html
        read = Reader(html)
        assert "script" not in read.tags
        assert HOSTILE in "".join(read.text)


def test_every_picture_says_what_it_shows(pictures):
    html = render(Page("all", [], "HELD", [], pictures))
    labels = [value for tag, name, value in Reader(html).attributes if tag == "svg" and name == "aria-label"]
    assert len(labels) == 5
    assert all(len(label) > 30 for label in labels)
    assert "accepted, 1,793: p50 " in labels[0]
    assert "ours 10/s: 20.0 ms; ours 20/s: 90.0 ms" in labels[3]
    assert "memory: from 1 to 2 MB" in labels[4]


def test_a_page_can_be_read_on_light_and_on_dark_ground(run_html):
    assert "prefers-color-scheme: dark" in run_html
    style, _, body = run_html.partition("</style>")
    # A colour of its own would vanish on one of the two.
    assert not re.search(r"#[0-9a-fA-F]{6}\b|#fff\b|black|white", re.sub(r'aria-label="[^"]*"', "", body))
    used = set(re.findall(r"var\((--[\w-]+)\)", run_html))
    for half in style.split("@media"):
        assert used <= set(re.findall(r"(--[\w-]+):", half))


def test_equal_runs_give_equal_pages(run_html):
    assert render(page()) == run_html


def test_a_long_run_gives_a_small_page(tmp_path):
    found = samples(100_000, seconds=7200.0)
    write_page(tmp_path / "long.html", page(found))
    assert 20_000 < (tmp_path / "long.html").stat().st_size < 1_000_000


def test_a_run_without_samples_has_a_page_without_pictures():
    read = Reader(render(page([])))
    assert "svg" not in read.tags


@given(st.floats(0, 1e5), st.floats(0, 1e6))
def test_stretches_cover_the_run_and_are_few(start_s, span_s):
    edges = edges_of(start_s, start_s + span_s)
    assert edges[0] <= start_s
    assert start_s + span_s < edges[-1] or span_s == 0
    assert 2 <= len(edges) <= MOST_STRETCHES + 3


@given(st.lists(st.tuples(st.floats(0, 99), st.floats(0.01, 1e4)), min_size=1, max_size=50))
def test_stretches_lose_no_value_and_show_the_slowest(points):
    by = by_stretch(points, edges_of(0, 99))
    assert sum(by.count) == len(points)
    assert max(value for value in by.max if value == value) == max(value for _, value in points)


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=2000))
def test_a_distribution_is_thinned_without_changing_a_value(values):
    points = cumulative(values)
    assert len(points) <= 130
    assert points[-1] == (max(values), 1.0)
    assert points[0][0] == min(values)
    for value, share in points[1:]:
        assert value == percentile(values, share)
    assert points == sorted(points)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=3000))
def test_thinning_keeps_the_highest(values):
    kept = thinned(list(enumerate(values)))
    assert len(kept) <= MOST_STRETCHES
    assert max(value for _, value in kept) == max(values)
    assert kept == sorted(kept)


def test_a_page_that_cannot_be_written_is_told_before_and_after(tmp_path):
    check_html_option(None)
    check_html_option(tmp_path / "page.html")
    with pytest.raises(LoadtestError, match="no such folder"):
        check_html_option(tmp_path / "nowhere" / "page.html")
    with pytest.raises(LoadtestError, match="cannot be written"):
        write_page(tmp_path, page([]))


def test_a_command_starts_without_the_drawing_library():
    code = (
        "import sys, loadtest.__main__, loadtest.pages; sys.exit(not {'matplotlib', 'jinja2'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

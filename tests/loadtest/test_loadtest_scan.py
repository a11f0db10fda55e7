"""The scan: distinct products without end, a cache that stays within its bytes, memory that stops growing."""

import argparse
import json
import signal

import pytest

from loadtest.benchmarks.observed import Kept
from loadtest.errors import Exit
from loadtest.promises.scan import Scanned, Step, judge_scan
from loadtest.promises.scan_traffic import scan_bodies
from loadtest.promises.watch import Reading

TARGETS = argparse.Namespace(cache_bytes=100_000, max_growth_mb=5.0)
QUICK = ("--products=4000", "--at-once=100", "--in-flight=2", "--cache-bytes=500000")


def steps(*, base=50e6, growth=0.0, cache=100_000, entry=1000, count=40):
    """A step every 10 products; `growth` bytes a product once the cache is full."""
    made = []
    for number in range(count):
        products = 10 * number
        kept = min(products, cache // entry)
        rss_bytes = base + 1100 * kept + growth * max(0, products - cache // entry)
        made.append(Step(products, int(rss_bytes), Kept(kept, kept * entry)))
    return made


def verdict(made, **changes):
    return judge_scan(Scanned(made, **changes), TARGETS, [])


def broken(findings):
    return [check.what for check in findings.checks if check.held is False]


def test_memory_that_stops_with_the_cache_holds_and_memory_that_grows_on_does_not():
    assert verdict(steps()).exit is Exit.HELD
    grown = verdict(steps(growth=20_000))
    assert grown.exit is Exit.BROKEN
    assert broken(grown) == ["growth of resident memory once full"]


def test_what_fills_the_cache_is_no_growth():
    assert verdict(steps(entry=1000, base=0)).exit is Exit.HELD
    large = [Step(step.products, step.rss_bytes + 10**6 * step.kept.products, step.kept) for step in steps()]
    assert verdict(large).exit is Exit.HELD


def test_a_peak_between_two_steps_counts_on_its_side_of_the_full_cache():
    def peak(products):
        return [Reading(1.0, products, 90_000_000, 1.0)]

    assert verdict(steps(), readings=peak(90)).exit is Exit.HELD
    assert verdict(steps(), readings=peak(100)).exit is Exit.BROKEN
    assert verdict(steps(), readings=[*peak(90), *peak(100)]).exit is Exit.HELD


def test_a_cache_over_its_bytes_is_broken():
    assert broken(verdict(steps(cache=101_000))) == ["bytes kept, highest"]


def test_a_cache_that_was_emptied_on_the_way_is_broken():
    made = steps()
    made[20] = Step(200, made[20].rss_bytes, Kept(3, 3000))
    assert broken(verdict(made)) == ["bytes kept, lowest once full"]


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (steps(count=5), "the cache was never full"),
        (steps(count=11), "nothing was asked once the cache was full"),
    ],
)
def test_a_scan_that_is_too_short_answers_nothing(made, complaint):
    findings = verdict(made)
    assert findings.exit is Exit.INVALID
    assert complaint in findings.invalid[0]


def test_a_scan_that_ended_early_answers_nothing_and_says_what_it_saw():
    findings = verdict(steps(), failure="time was up after 390 of 1,000,000 products")
    assert findings.exit is Exit.INVALID
    assert "time was up" in findings.as_text()
    assert "first full" in findings.as_text()
    assert verdict(steps(), interrupted=True).exit is Exit.INTERRUPTED


def test_a_cache_that_was_full_from_the_start_is_judged_too():
    assert verdict(steps()[15:]).exit is Exit.HELD


def test_no_two_products_of_a_scan_have_one_title():
    bodies = list(scan_bodies(2500, 1000, 1))
    assert [count for count, _ in bodies] == [1000, 1000, 500]
    titles = [product["title"] for _, body in bodies for product in json.loads(body)["products"]]
    assert len(set(titles)) == len(titles) == 2500
    assert list(scan_bodies(2500, 1000, 1)) == bodies
    assert list(scan_bodies(2500, 1000, 2)) != bodies


@pytest.fixture
def scan(start_service, loadtest, tmp_path):
    """Runs the command against a fake service with a cache of 500 products; gives exit code, output and report."""

    def run(*flags, options=()):
        service = start_service("--split", *flags, environment={"SHELFSCORE_STATE_CACHE_BYTES": "500000"})
        report = tmp_path / "scan.json"
        done = loadtest("scan", "--host", service.url, "--pid", service.pid, *QUICK, *options, f"--json={report}")
        contents = json.loads(report.read_text()) if report.exists() else {}
        return done.returncode, done.stdout + done.stderr, contents

    return run


def test_a_service_within_its_bounds_holds(scan):
    code, said, report = scan(options=["--max-growth-mb=100"])
    assert code == 0, said
    assert [report["steps"][place]["products"] for place in (0, 1, -1)] == [0, 200, 4000]
    assert report["steps"][-1]["kept"] == {"products": 500, "bytes": 500_000}
    assert "bytes a product, as the service counts" in said
    assert "4,000 distinct products in requests of 100, 2 in flight" in said


def test_a_service_that_hoards_is_found(scan):
    code, said, report = scan("--hoard=20000", options=["--max-growth-mb=20"])
    assert code == 1, said
    assert [check["what"] for check in report["checks"] if check["held"] is False] == [
        "growth of resident memory once full"
    ]


def test_a_service_whose_caches_are_emptied_is_found(scan):
    code, said, _ = scan("--forget-after=40", options=["--max-growth-mb=100"])
    assert code == 1, said
    assert "bytes kept, lowest once full" in said


def test_what_is_turned_away_is_asked_again(scan):
    code, said, report = scan("--shed-every=20", options=["--max-growth-mb=100"])
    assert code == 0, said
    assert report["steps"][-1]["products"] == 4000
    again = next(check for check in report["checks"] if check["what"] == "requests turned away and asked again")
    assert again["measured"] == "2"


@pytest.mark.parametrize(
    ("flags", "options", "status"), [(("--shed-every=31",), ("--patience=0",), 503), (("--fail-every=31",), (), 500)]
)
def test_an_answer_without_scores_ends_the_scan_and_its_verdict(scan, flags, options, status):
    code, said, _ = scan(*flags, options=["--max-growth-mb=100", *options])
    assert code == 3, said
    assert f"ended after 3,000 products: answered {status}" in said


def test_time_that_is_up_ends_the_scan(scan):
    code, said, _ = scan(options=["--max-minutes=0"])
    assert code == 3, said
    assert "time was up after 0 of 4,000 products" in said


def test_ctrl_c_gives_what_was_seen_until_then(start_service, start_loadtest):
    service = start_service("--split", "--delay-ms=20")
    process = start_loadtest("scan", "--host", service.url, "--pid", service.pid, "--products=100000", "--at-once=10")
    line = ""
    while " products, " not in line:
        line = process.stderr.readline()
        assert line, "the scan ended early"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.splitlines()[-1] == "INTERRUPTED"


@pytest.mark.parametrize(
    ("flags", "options", "complaint"),
    [
        ((), (), "expected the server's --pid"),
        (("--no-caches",), ("--pid",), "expected shelfscore_kept_products and shelfscore_kept_bytes in /metrics"),
    ],
)
def test_a_server_that_tells_too_little_cannot_be_scanned(start_service, loadtest, flags, options, complaint):
    service = start_service(*flags)
    pid = ["--pid", service.pid] if options else []
    done = loadtest("scan", "--host", service.url, *pid, *QUICK)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--products=0", "--products: expected 1 or more"),
        ("--at-once=1001", "--at-once: expected 1 to 1000"),
        ("--cache-bytes=0", "--cache-bytes: expected 1 or more"),
    ],
)
def test_impossible_options_are_refused(loadtest, option, complaint):
    done = loadtest("scan", "--host=http://127.0.0.1:1", option)
    assert done.returncode == 2
    assert complaint in done.stderr

"""The soak's requests and its verdict on memory, with the control that shows that a leak would be found."""

import argparse
import gzip
import json
import os
import random
import sys
import threading
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.client import JSON_HEADERS, Connection, Endpoint
from loadtest.errors import Exit
from loadtest.generator.plan import OpenSample, Played
from loadtest.measure import Outcome
from loadtest.pages import render
from loadtest.promises.soak import judge_soak, soak_figures
from loadtest.promises.soak_traffic import SoakTraffic
from loadtest.promises.trend import rise_of, slope_of
from loadtest.promises.watch import Reading
from loadtest.servers import Server, free_port
from loadtest.target import Target

HERE = Path(__file__).parent
LEAKING = HERE.parents[1] / "loadtest" / "peers" / "leaking.py"
TARGETS = argparse.Namespace(
    max_rss_mb=350.0, max_slope=50.0, leak_bytes=300, leak_control=False, max_new_descriptors=3, max_new_threads=0
)
ENDPOINT = Endpoint.parse("http://127.0.0.1:8080")


def contents(request):
    head, _, body = request.data.partition(b"\r\n\r\n")
    return json.loads(gzip.decompress(body) if b"content-encoding: gzip" in head else body)


@pytest.fixture(scope="module")
def made():
    traffic = SoakTraffic(ENDPOINT, 1)
    return [traffic(number) for number in range(3000)]


def test_a_number_is_always_the_same_request_and_no_two_are_alike(made):
    assert SoakTraffic(ENDPOINT, 1)(17) == made[17]
    assert SoakTraffic(ENDPOINT, 2)(17) != made[17]
    titles = Counter(product["title"] for request in made[:500] for product in contents(request)["products"])
    assert max(titles.values()) == 1


def test_requests_are_of_all_sizes_and_most_are_small(made):
    sizes = sorted(request.products for request in made)
    assert sizes[0] == sizes[len(sizes) // 2] == 1
    assert 200 < sizes[-1] <= 1000
    assert all(request.products == len(contents(request)["products"]) for request in made[:300])
    assert max(len(request.data) for request in made) < 2 * 1024 * 1024


def test_titles_run_from_a_word_to_thousands_of_characters_in_all_planes(made):
    titles = [product["title"] for request in made for product in contents(request)["products"]]
    assert max(map(len, titles)) > 2000
    planes = {ord(character) >> 16 for title in titles for character in title}
    assert planes >= {0, 1, 2, 3, 14, 15, 16}
    categories = {unicodedata.category(character) for title in titles for character in title}
    assert "Cs" not in categories
    assert all(title.strip() for title in titles)


def test_each_way_to_ask_has_its_share(made):
    partial = sum(contents(request).get("partial", False) for request in made[:1000])
    gzipped = sum(b"content-encoding: gzip" in request.data for request in made)
    hurried = sum(b"x-request-timeout-ms" in request.data for request in made)
    left = sum(request.abandon_s is not None for request in made)
    assert 60 < partial < 140
    assert 200 < gzipped < 400
    assert 200 < hurried < 400
    assert 20 < left < 120
    plain = SoakTraffic(ENDPOINT, 1, partial=0, gzipped=0, hurried=0, abandoned=0)
    assert not any(b"gzip" in plain(number).data for number in range(100))


def series(bytes_per_request, *, noise=0.0, requests=100_000, base=250e6):
    """A reading every 500 requests; readings wander as memory does, so that neighbours are alike."""
    wander, drift = random.Random(1), 0.0
    readings = []
    for ended in range(0, requests + 1, 500):
        drift = 0.9 * drift + wander.gauss(0, noise)
        readings.append(Reading(ended / 100, ended, int(base + ended * bytes_per_request + drift), 0.0))
    return readings


def played(outcome=Outcome.ACCEPTED):
    return Played(0.0, [OpenSample(0.0, 0.0, 0.1, outcome, 200, None)], 1000.0, 10.0, 0, 8, stopped=False)


def verdict(readings, **targets):
    return judge_soak(played(), readings, argparse.Namespace(**{**vars(TARGETS), **targets}), [])


@pytest.mark.parametrize("noise", [0.0, 0.2e6])
def test_memory_that_wanders_is_flat_and_memory_that_leaks_is_not(noise):
    assert verdict(series(0, noise=noise)).exit is Exit.HELD
    assert verdict(series(300, noise=noise)).exit is Exit.BROKEN


def test_what_is_filled_in_the_first_half_is_no_leak():
    readings = [replace(each, rss_bytes=each.rss_bytes + min(each.ended, 40_000) * 1000) for each in series(0)]
    assert verdict(readings).exit is Exit.HELD


def test_the_control_holds_if_the_leak_is_found_and_breaks_if_not():
    assert verdict(series(300, noise=0.2e6), leak_control=True).exit is Exit.HELD
    assert verdict(series(0, noise=0.2e6), leak_control=True).exit is Exit.BROKEN


def test_a_run_too_noisy_to_see_the_leak_answers_nothing():
    assert verdict(series(0, noise=5e6)).exit is Exit.INVALID
    assert verdict(series(0)[:10]).exit is Exit.INVALID
    assert verdict([]).exit is Exit.INVALID


def test_too_much_memory_is_broken():
    assert verdict(series(0, base=351e6)).exit is Exit.BROKEN


def with_counts(descriptors=lambda _: 30, threads=lambda _: 12):
    return [
        replace(each, descriptors=descriptors(each.ended), threads=threads(each.ended))
        for each in series(0, noise=0.2e6)
    ]


def broken(readings):
    return [check.what for check in verdict(readings).checks if check.held is False]


def test_open_files_and_threads_that_come_and_go_are_flat_and_those_that_pile_up_are_not():
    wander = random.Random(1)
    assert broken(with_counts()) == []
    assert broken(with_counts(descriptors=lambda _: 30 + wander.randint(0, 9))) == []
    assert broken(with_counts(descriptors=lambda ended: 30 + ended // 5000)) == ["open files and sockets, second half"]
    assert broken(with_counts(threads=lambda ended: 12 + (ended > 80_000))) == ["threads, second half"]
    # What is opened once, in the first half, is no leak.
    assert broken(with_counts(descriptors=lambda ended: 30 + 40 * (ended > 30_000))) == []


def test_a_process_that_cannot_be_read_is_not_judged():
    findings = verdict(series(0))
    assert findings.exit is Exit.HELD
    assert "unknown: too few readings" in findings.as_text()


def test_a_rise_is_from_the_first_twelfth_to_the_last():
    assert rise_of([5.0] * 100) == 0.0
    assert rise_of([float(x) for x in range(120)]) == 110.0
    assert rise_of([5.0, 90.0, *[5.0] * 50, *[6.0] * 50]) == 1.0
    assert rise_of([1.0] * 23) is None


def test_open_files_and_threads_of_a_process_are_counted(tmp_path):
    target = Target("http://127.0.0.1:1", os.getpid(), None)
    before = target.descriptors()
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        assert target.descriptors() == before + 2
    release, threads = threading.Event(), target.threads()
    waiting = threading.Thread(target=release.wait)
    waiting.start()
    assert target.threads() == threads + 1
    release.set()
    waiting.join()
    assert Target("http://127.0.0.1:1", None, None).descriptors() is None


def test_a_soak_has_a_page():
    readings = with_counts()
    html = render(verdict(readings).page(soak_figures(played(), readings)))
    assert html.count("<svg") == 4
    for name in ("open files and sockets", "threads", "resident memory", "HELD"):
        assert name in html


def test_a_failed_request_is_broken():
    assert judge_soak(played(Outcome.FAILED), series(0), TARGETS, []).exit is Exit.BROKEN


def test_a_slopes_interval_holds_the_truth_about_as_often_as_it_says():
    held = 0
    for seed in range(200):
        noise = random.Random(seed)
        slope = slope_of([(float(x), 3.0 * x + noise.gauss(0, 50)) for x in range(240)])
        held += slope.low <= 3.0 <= slope.high
    assert 180 <= held <= 199


def test_too_few_points_have_no_slope():
    assert slope_of([(float(x), 1.0) for x in range(23)]) is None
    assert slope_of([(1.0, float(y)) for y in range(50)]) is None


@pytest.fixture
def fake(tmp_path, monkeypatch):
    servers = []

    def start(*launcher):
        port = free_port(18200, 18299)
        monkeypatch.chdir(HERE)
        argv = [sys.executable, *map(str, launcher), "-m", "fake_service", str(port)]
        servers.append(Server.start(argv, port, {}, tmp_path / f"{port}.log"))
        servers[-1].wait_ready("/models", 60)
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_the_leaking_server_keeps_what_it_is_told_of_every_request_and_answers_as_before(fake):
    def grown_by(server):
        connection = Connection(Endpoint.parse(server.url), 30)
        body = json.dumps({"query": "q", "products": [{"title": "t"}]}).encode()
        before = server.usage().rss_bytes
        for _ in range(50):
            assert connection.request("POST", "/score", body, JSON_HEADERS).status == 200
        connection.close()
        return server.usage().rss_bytes - before

    assert grown_by(fake()) < 25e6
    assert 45e6 < grown_by(fake(LEAKING, 1_000_000)) < 100e6

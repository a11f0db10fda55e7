"""The HTML report: what it holds, that it needs no network, and that hostile text stays text."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from artifact.calibration import Calibration
from training.config import Data, read_config
from training.config.evaluation import Evaluation
from training.data import JudgedPair
from training.errors import TrainingError
from training.evaluation.metrics import Estimate, ModelScores
from training.evaluation.report import CurvePoint, ReportInput, write_report
from training.evaluation.served import ServedScorer
from training.evaluation.table import print_evaluation

SETTINGS = Evaluation(resamples=100, permutations=99, segment_queries=5, noise_note="Raters <b>differ</b>.")
HOSTILE = "<script>alert('title')</script>"
VOID = {"meta", "img"}
DATA = Data.model_validate(
    {
        "judgements": [
            {
                "name": "shop",
                "file": "judged.csv",
                "licence": "CC0-1.0",
                "grade": "grade",
                "targets": {"0": 0.0, "1": 0.5, "2": 1.0},
                "ndcg_gains": {"0": 0.0, "1": 1.0, "2": 3.0},
                "auc": [[["2"], ["0"]]],
                "columns": {"title": "title"},
                "split": "split",
            }
        ]
    }
)


class Page(HTMLParser):
    """Collects tags and text, and checks that what opens closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def report_of(queries=6, hostile=HOSTILE):
    pairs = [
        JudgedPair(
            f"query {i} {hostile}", {"title": f"{hostile} {g}", "brand": '"&<img src=x>'}, g, int(g) / 2, "shop", "test"
        )
        for i in range(queries)
        for g in "01202"
    ]
    truth = np.asarray([pair.target for pair in pairs])
    random = np.random.default_rng(3)
    noise = random.normal(size=(2, len(pairs)))
    models = {
        "floor": ModelScores(noise[0]),
        f"teacher $x$ {hostile}": ModelScores(4 * truth - 2 + noise[1], Calibration()),
        "student 学生": ModelScores(4 * truth - 2 + noise[0], Calibration(slope=0.5)),
    }
    points = [
        CurvePoint(label, size, Estimate("nDCG@10", 0.7 + size / 1e6, 0.6, 0.9, "world", "test", 50))
        for label in ("margin", f"point {hostile} $")
        for size in (10_000, 100_000)
    ]
    ceilings = [Estimate("nDCG@10 of r1", 0.775, 0.7, 0.8, "shop", "test", 40)]
    return ReportInput(
        f"Report {hostile}",
        models,
        pairs,
        DATA,
        "test",
        list(models)[1],
        SETTINGS,
        points,
        ceilings,
        [f"Note {hostile}"],
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, report_of())
    return path.read_text("utf-8")


def test_the_page_holds_every_part(page):
    text = Page(page).text
    for part in (
        "How far the raters agree",
        "Quality against data size",
        "Difference from teacher",
        "gains 0 → 0, 1 → 1, 2 → 3",
        "Calibration and scores by grade",
        "Segments (nDCG@10)",
        "Biggest wins of student 学生",
        "Biggest losses",
        "smallest visible",
        "0.775",
        "100,000",
        "MRR",
        "ECE",
    ):
        assert part in text
    assert Page(page).tags.count("img") == 1 + 3 + 2


def test_hostile_text_stays_text(page):
    found = Page(page)
    assert "script" not in found.tags
    assert "<script" not in page
    assert "<img src=x>" in found.text
    assert "Raters <b>differ</b>." in found.text
    assert f"{HOSTILE} 2" in found.text


def test_the_page_asks_for_nothing_from_elsewhere(page):
    found = Page(page)
    assert found.addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in found.addresses)
    assert not found.tags.count("link")
    assert not re.search(r"https?:|@import|url\(", re.sub(r"base64,[^\"]*", "", page))
    for address in found.addresses:
        picture = ElementTree.fromstring(base64.b64decode(address.partition(",")[2]))
        for node in picture.iter():
            assert not node.tag.endswith(("script", "image", "foreignObject"))
            for name, value in node.attrib.items():
                assert not name.endswith("href") or value.startswith("#")


def test_the_page_is_small_and_the_same_every_time(page, tmp_path):
    write_report(tmp_path / "again.html", report_of())
    assert (tmp_path / "again.html").read_text("utf-8") == page
    assert len(page) < 3_000_000


def test_a_single_model_and_queries_without_a_figure_make_a_page(tmp_path):
    report = report_of(queries=1)
    alike = [replace(pair, grade="2", target=1.0) for pair in report.pairs]
    one = replace(
        report, pairs=alike, models={"m": ModelScores(np.zeros(len(alike)))}, baseline="m", curves=(), ceilings=()
    )
    write_report(tmp_path / "r.html", one)
    assert "Difference from" not in Page((tmp_path / "r.html").read_text("utf-8")).text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"baseline": "nobody"}, "the baseline 'nobody' is none of the models"),
        ({"models": {}}, "needs a model and a judged pair"),
        (
            {"models": {"m": ModelScores(np.zeros(2))}, "baseline": "m"},
            "m: expected a finite score for each of 30 pairs",
        ),
        ({"curves": [CurvePoint("l", 0, Estimate("n", 0.5, 0.4, 0.6, "d", "test", 9))]}, "numbers of training pairs"),
    ],
)
def test_input_that_makes_no_report_is_refused_and_nothing_is_written(change, said, tmp_path):
    with pytest.raises(TrainingError, match=said):
        write_report(tmp_path / "r.html", replace(report_of(), **change))
    assert not list(tmp_path.iterdir())


def test_the_evaluation_of_the_floors_prints_differences_and_writes_the_report(
    config_file, data_folder, tmp_path, capsys
):
    path = tmp_path / "page.html"
    config = read_config(config_file)
    print_evaluation(config, data_folder, tmp_path / "no-run", "test", [], None, path, SETTINGS)
    printed = capsys.readouterr().out
    assert "nDCG of judged: gains 0 → 0, 2 → 3." in printed
    assert "| word overlap (floor) | judged nDCG@10 |" in printed
    assert "judged MRR" in printed
    assert "ECE" not in printed.splitlines()[0]
    assert "Difference from word overlap (floor)" in Page(path.read_text("utf-8")).text
    assert not (tmp_path / "no-run").exists()


def test_the_last_of_several_services_is_compared_with_the_others(command, monkeypatch, capsys):
    def ask(scorer, query, products, fields):
        own = set(query.split()) if scorer.url.endswith(":1") else set()
        logits = [float(len(own & set(product["title"].split()))) for product in products]
        return [logits, [1 / (1 + np.exp(-logit)) for logit in logits]]

    monkeypatch.setattr(ServedScorer, "_ask", ask)
    assert command("evaluate", "--url", "http://127.0.0.1:1", "--url", "http://127.0.0.1:2/") == 0
    rows, differences = capsys.readouterr().out.split("| served at http://127.0.0.1:2/ minus | figure |")
    assert "| served at http://127.0.0.1:1 | " in rows
    (line,) = (line for line in differences.splitlines() if "127.0.0.1:1 | judged nDCG@10" in line)
    # Overlap against no order at all.
    assert " | -0." in line

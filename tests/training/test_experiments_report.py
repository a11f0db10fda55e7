"""The page of a reproduction, and the watched command of the memory check."""

import csv
import json
import sys

import pytest

from training.config import read_config
from training.errors import TrainingError
from training.experiments.report import END, START, write_report
from training.experiments.scale import watched, write_config, write_data


def figure(value: float, **against: float) -> dict[str, object]:
    close = {
        name.replace("_", "-"): {"value": d, "low": d - 0.01, "high": d + 0.01, "p": 0.5} for name, d in against.items()
    }
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "against": close}


def student(name: str, loss: str, pairs: int) -> dict[str, object]:
    return {"name": name, "loss": loss, "pairs": pairs, "epochs": 2, "seconds": 60, "pairs_per_s": 100}


def trial(kind: str, rate: float, loss: float) -> dict[str, object]:
    return {"kind": kind, "learning_rate": rate, "epochs": 4, "dev_loss": loss, "seconds": 6}


@pytest.fixture
def results(tmp_path):
    models = {
        **{name: figure(0.5) for name in ("random", "word overlap", "cosine", "human")},
        "teacher": figure(0.8),
        "margin-10": figure(0.6, teacher=-0.2, human=0.1),
        "margin-30": figure(0.7, teacher=-0.1, human=0.2, margin_10=0.1),
        "pointwise-30": figure(0.65, teacher=-0.15, human=0.15),
    }
    world = {
        "data": {"train_pairs": 5, "train_queries": 2, "test_pairs": 9, "test_queries": 3, "labelled_pairs": 30},
        "steps": {"teacher": {"seconds": 60}, "label": {"seconds": 10, "pairs": 30}},
        "students": [
            student("human", "soft-target", 5),
            student("margin-10", "margin", 10),
            student("margin-30", "margin", 30),
            student("pointwise-30", "pointwise", 30),
        ],
        "trials": [trial("margin", 1e-4, 0.5), trial("margin", 2e-4, 0.4), trial("human", 3e-5, 0.6)],
        "metrics": [{"name": "nDCG@10", "data": "chorus", "size": 3, "models": models}],
        "agreement": {"chorus": {"margin-10": 0.5, "margin-30": 0.61}},
    }
    machine = {"processor": "P", "cores": 2, "gpu": None, "python": "3", "torch": "2"}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"machine": machine, "commit": "c", "scale": 1, "worlds": {"human": world}}))
    return path


def test_the_page_says_what_holds_and_what_does_not_and_keeps_what_people_wrote(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Mine\n{START}\nstale\n{END}\nafter\n")
    write_report(results, page)
    text = page.read_text()
    assert text.startswith("# Mine\n")
    assert "\n  - 10 to 30: +0.100 [+0.090, +0.110], p = 0.500.\n" in text
    assert "(mean Kendall tau): 0.500, 0.610.\n" in text
    assert text.endswith("after\n")
    assert "stale" not in text
    assert "| margin loss | 0.0001 | 4 | 0.5000 |" in text
    assert "| margin loss | 0.0002 | 4 | **0.4000** |" in text
    assert "- Holds: the student improves with every step of more teacher-labelled pairs (0.600 → 0.700)." in text
    assert "- Holds: with 30 pairs it is above the student of human labels alone" in text
    assert "- Does **not** hold: it ends within 0.005 of its teacher or above it (-0.100" in text
    assert "| student, teacher's labels, margin loss | 30 | 2 | 0.700 [0.690, 0.710] |" in text
    assert "<svg" in (tmp_path / "page.svg").read_text()
    first = text, (tmp_path / "page.svg").read_bytes()
    write_report(results, page)
    assert (page.read_text(), (tmp_path / "page.svg").read_bytes()) == first


def test_a_page_without_markers_is_left_alone(results, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Mine\n")
    with pytest.raises(TrainingError, match="expected one line"):
        write_report(results, page)
    assert page.read_text() == "# Mine\n"


def test_synthetic_rows_are_as_many_as_asked_and_fit_their_configuration(tmp_path):
    queries = write_data(20_000, tmp_path / "data")
    rows = {p.stem: len(list(csv.reader(p.read_text().splitlines()))) - 1 for p in (tmp_path / "data").iterdir()}
    assert rows == {"products": 2000, "judged": 2000, "queries": queries}
    assert abs(rows["products"] + rows["judged"] + 12 * queries - 20_000) < 12
    assert read_config(write_config(tmp_path, queries)).mining.max_queries == queries


def test_a_watched_command_tells_its_peak_and_its_failure(tmp_path):
    hungry = "import time; x = b'x' * 200_000_000; time.sleep(0.5)"
    seconds, peak = watched([sys.executable, "-c", hungry], tmp_path / "log")
    assert seconds > 0.5
    assert 200e6 < peak < 400e6
    with pytest.raises(TrainingError, match="exit code 1: ValueError: no such row"):
        watched([sys.executable, "-c", "raise ValueError('no such row')"], tmp_path / "log")

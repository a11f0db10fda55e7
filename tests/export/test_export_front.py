"""The picture of quality against online time: students exported, timed in turn, and set beside what was measured."""

import json
import re

import pytest

from export.__main__ import main
from export.errors import ExportError
from export.front import make_front
from export.front.picture import front_of
from export.front.world import World

from .split_tiny import write_split
from .tiny import TEMPLATE, write_checkpoint


def model(value, against=0.01):
    return {"value": value, "against": {"cross-encoder 2": {"value": against, "low": -0.02, "high": 0.03}}}


METRICS = [
    {"data": "shop", "name": "MRR", "models": {}},
    {"data": "shop", "name": "AUC 3 against 0", "models": {}},
    {
        "data": "shop",
        "name": "nDCG@10",
        "models": {"cross-encoder 2": {"value": 0.7, "against": {}}, "split": model(0.8), "teacher": model(0.9)},
    },
    {"data": "esci", "name": "AUC E against I", "models": {"cross-encoder 2": {"value": 0.5, "against": {}}}},
    {"data": "esci", "name": "AUC E against S", "models": {}},
]


@pytest.fixture
def world(tmp_path):
    """The folder of a comparison of a cross-encoder with a split student."""
    folder = tmp_path / "variants"
    write_split(folder / "students" / "made").rename(folder / "students" / "split")
    cross = write_checkpoint(folder / "students" / "cross-encoder-2")
    (cross / "template.json").write_text(TEMPLATE.model_dump_json())
    rows = [{"name": "cross-encoder 2"}, {"name": "split"}]
    results = {"reference": "cross-encoder 2", "variants": rows, "metrics": METRICS}
    (folder / "variants.json").write_text(json.dumps(results))
    return folder


def test_each_source_is_judged_by_ndcg_or_else_its_first_auc(world):
    names = [metric["name"] for metric in World.read("a shop", world).figures]
    assert names == ["nDCG@10", "AUC E against I"]


def test_table_and_picture_have_every_student_and_exports_are_kept(world, tmp_path, capsys):
    picture, artifacts = tmp_path / "front.svg", tmp_path / "artifacts"
    options = ["--artifacts", str(artifacts), "--picture", str(picture), "--rounds", "2"]
    assert main(["front", f"a shop={world}", *options]) == 0
    rows = {line.split(" | ")[0].strip("| "): line for line in capsys.readouterr().out.splitlines()}
    assert "0.800 (+0.010 [-0.020, +0.030])" in rows["split"]
    assert "| 0.700 |" in rows["cross-encoder 2"]
    assert "0.900" in rows["teacher"]
    assert "a shop: shop nDCG@10 | a shop: esci AUC E against I" in rows["student"]
    assert set(re.findall(r"<!-- (\d  [a-z].*) -->", picture.read_text())) in (
        {"1  split", "2  cross-encoder 2"},
        {"1  cross-encoder 2", "2  split"},
    )
    made = {path: path.stat().st_mtime_ns for path in artifacts.rglob("*.onnx")}
    assert len(made) == 4
    make_front({"a shop": world}, artifacts, picture, 1, lambda _: None)
    assert made == {path: path.stat().st_mtime_ns for path in made}


def test_the_front_holds_what_nothing_else_beats_in_both():
    points = {"fast": (1.0, 0.7), "slow and worse": (3.0, 0.6), "better": (2.0, 0.8), "as good, slower": (2.5, 0.8)}
    assert front_of(points) == ["fast", "better"]


def test_folders_without_results_and_students_are_refused(world, tmp_path):
    with pytest.raises(ExportError, match=r"expected variants\.json"):
        make_front({"a shop": tmp_path}, tmp_path / "artifacts", tmp_path / "front.svg", 1, lambda _: None)
    (world / "students" / "split" / "template.json").unlink()
    with pytest.raises(ExportError, match="expected a finished student"):
        make_front({"a shop": world}, tmp_path / "artifacts", tmp_path / "front.svg", 1, lambda _: None)

"""Variants of the student side by side: trained once each on the same lists, scored on the same pairs."""

import json

import numpy as np
import pytest

from training.errors import TrainingError
from training.experiments.__main__ import main
from training.experiments.variants import VARIANTS_FILE, read_variants
from training.split import SHAPE_FILE

VARIANTS = """
reference = "cross-encoder 2"
[[variants]]
name = "cross-encoder 2"
layers = [0, 2]
learning_rate = 1e-3
[[variants]]
name = "split"
layers = [0]
learning_rate = 1e-3
split.interaction_layers = [1]
split.state_width = 8
split.shortcuts = ["cosine"]
"""


@pytest.fixture
def variants(tmp_path):
    (tmp_path / "variants.toml").write_text(VARIANTS)
    return tmp_path / "variants.toml"


@pytest.fixture
def compared(command, data_folder, tmp_path, variants, capsys):
    """Compares the variants on a run that is labelled; returns the exit code and what was printed."""
    for stage in ("data", "teacher", "mine", "label"):
        assert command(stage) == 0

    def compare(*more):
        options = ["--data", str(data_folder), "--out", str(tmp_path / "out"), "--file", str(variants)]
        code = main(["variants", str(tmp_path / "run"), *options, "--pairs", "40", "--epochs", "1", *more])
        return code, "".join(capsys.readouterr())

    return compare


def test_each_variant_is_trained_once_and_measured_against_the_reference(compared, tmp_path):
    code, printed = compared("--only", "split")
    assert code == 0, printed
    out = tmp_path / "out"
    assert not (out / "variants.json").exists()
    trained = (out / "students" / "split" / "template.json").stat().st_mtime_ns
    assert list((out / "shared").glob("states-product-*/states"))
    assert (out / "students" / "split" / SHAPE_FILE).exists()
    code, printed = compared()
    assert code == 0, printed
    assert not (out / "shared").exists()
    results = json.loads((out / "variants.json").read_text())
    assert (out / "students" / "split" / "template.json").stat().st_mtime_ns == trained
    assert not (out / "students" / "cross-encoder-2" / SHAPE_FILE).exists()
    assert [row["name"] for row in results["variants"]] == ["cross-encoder 2", "split"]
    models = results["metrics"][0]["models"]
    assert set(models) == {"cross-encoder 2", "split", "teacher"}
    assert set(models["split"]["against"]) == {"cross-encoder 2", "teacher"}
    assert 40 <= results["pairs"] < 60
    assert len(np.load(out / "scores" / "split.npy")) == results["variants"][0]["test_pairs"]


def test_a_finished_student_can_be_measured_beside_the_variants_and_be_their_reference(compared, tmp_path):
    assert compared("--only", "split")[0] == 0
    folder = tmp_path / "out" / "students" / "split"
    code, printed = compared("--also", f"the same={folder}", "--reference", "the same")
    assert code == 0, printed
    results = json.loads((tmp_path / "out" / "variants.json").read_text())
    for metric in results["metrics"]:
        assert metric["models"]["split"]["against"]["the same"]["value"] == pytest.approx(0, abs=1e-6)


def test_a_variant_is_not_reported_with_settings_that_it_was_not_trained_with(compared, variants):
    assert compared()[0] == 0
    variants.write_text(VARIANTS.replace("state_width = 8", "state_width = 16"))
    code, printed = compared()
    assert code == 2
    assert "split was trained with split" in printed


def test_work_begun_with_other_settings_is_not_gone_on_with(compared, variants, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.student.student._fit_stage", stop)
        assert compared("--only", "split")[0] == 130
    variants.write_text(VARIANTS.replace("state_width = 8", "state_width = 16"))
    assert compared("--only", "split")[0] == 0
    shape = json.loads((tmp_path / "out" / "students" / "split" / SHAPE_FILE).read_text())
    assert shape["state_width"] == 16


def test_unknown_names_and_broken_files_are_refused(compared, variants, tmp_path):
    assert "no variant other" in compared("--only", "other")[1]
    variants.write_text(VARIANTS.replace('"cross-encoder 2"\nlayers', '"split"\nlayers'))
    assert "a name of its own" in compared()[1]
    variants.write_text(VARIANTS)
    assert "neither a variant nor a student given by --also" in compared("--reference", "other")[1]
    assert "split: is a variant already" in compared("--also", f"split={tmp_path}")[1]
    variants.write_text("reference = 3")
    assert str(variants) in compared()[1]
    with pytest.raises(TrainingError, match="No such file"):
        read_variants(tmp_path / "none.toml")


def test_the_variants_of_the_documentation_can_be_read():
    assert read_variants(VARIANTS_FILE).reference == "cross-encoder 3"

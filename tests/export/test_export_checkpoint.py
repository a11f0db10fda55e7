"""Which checkpoints are read, and how the others are refused."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from export import ExportError
from export.checkpoint import load_checkpoint

from .tiny import silent, write_checkpoint


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ExportError, match=name):
        load_checkpoint(folder, silent)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "albert"),
        ("hidden_act", "silu"),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
    ],
)
def test_another_architecture_is_refused_by_name(folder: Path, key: str, value: object) -> None:
    change_config(folder, **{key: value})
    with pytest.raises(ExportError, match=f"expected {key}"):
        load_checkpoint(folder, silent)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"hidden_size": "wide"}', '{"num_attention_heads": 5}'])
def test_a_damaged_configuration_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ExportError):
        load_checkpoint(folder, silent)


def test_weights_cut_short_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ExportError, match="damaged or cut short"):
        load_checkpoint(folder, silent)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    change_config(folder, intermediate_size=48)
    with pytest.raises(ExportError, match=r"disagree with config\.json"):
        load_checkpoint(folder, silent)


def test_missing_and_unknown_weights_are_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.lora.weight"] = weights.pop("bert.pooler.dense.bias")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ExportError, match=r"missing \['bert\.pooler\.dense\.bias'\], unknown \['bert\.encoder\.lora"):
        load_checkpoint(folder, silent)


def test_outputs_that_do_not_exclude_each_other_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "three", num_labels=3, problem_type="multi_label_classification")
    with pytest.raises(ExportError, match="3 outputs of problem_type 'multi_label_classification'"):
        load_checkpoint(folder, silent)

"""What stands beside the ONNX files: model card, peers' folder, and the command line that writes them."""

import json
from pathlib import Path

import numpy as np
import pytest

from artifact import load_artifact
from export import ExportError
from export.__main__ import main
from export.checkpoint import load_checkpoint
from export.generator import made_up_pairs
from export.peers import write_peer
from export.runtime import EncodedPairs, logits_of, open_session

from .tiny import LINEAGE, silent


def test_the_model_card_names_data_licences_figures_and_limits(exported: Path) -> None:
    card = (exported / "MODEL_CARD.md").read_text()
    for data in LINEAGE.data_sets:
        assert data.name.replace("|", "\\|") in card
        assert data.licence in card
    assert "| nDCG@10 | 0.8000 | 0.7900 to 0.8100 | judgements, test | 40 | cpu-int8 |" in card
    assert "int8 ranges by" in card
    assert "## Limits of use" in card


def test_the_peers_folder_computes_the_same_model(exported: Path, checkpoint_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "peer"
    write_peer(checkpoint_folder, out, silent)
    assert {path.name for path in out.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.onnx",
        "model_quantized.onnx",
    }
    assert list(json.loads((out / "config.json").read_text())["id2label"]) == ["0"]
    pairs = EncodedPairs(load_artifact(exported).tokenizer, made_up_pairs(20))
    found = pairs.logits(logits_of(open_session((out / "model.onnx").read_bytes())))
    expected = pairs.logits(load_checkpoint(checkpoint_folder, silent).logits)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_peers_folder_replaces_nothing(checkpoint_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(ExportError, match="expected a folder that does not exist yet"):
        write_peer(checkpoint_folder, tmp_path, silent)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_line_writes_a_plain_artifact(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((checkpoint_folder / "config.json").read_text())
    assert config["max_position_embeddings"] < 112
    assert main(["plain", str(checkpoint_folder), str(tmp_path / "a"), "--name", "x", "--variants", "cpu-int8"]) == 1
    assert "lower max_tokens" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_a_peers_folder(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["peer", str(checkpoint_folder), str(tmp_path / "a")]) == 0
    assert "wrote" in capsys.readouterr().err
    assert (tmp_path / "a" / "model_quantized.onnx").exists()


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (OSError(28, "No space left on device"), 1, "No space left on device; nothing was written"),
        (KeyboardInterrupt(), 130, "stopped; nothing was written"),
    ],
)
def test_a_full_disk_and_a_stop_end_the_command_in_a_sentence(
    checkpoint_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("export.__main__.export_plain", fail)
    assert main(["plain", str(checkpoint_folder), str(tmp_path / "a"), "--name", "x"]) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_model_without_a_name_is_refused(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plain", str(checkpoint_folder), str(tmp_path / "a"), "--name", ""]) == 1
    assert "expected a name for the model" in capsys.readouterr().err

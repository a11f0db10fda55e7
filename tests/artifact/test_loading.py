"""Loading verifies everything, and every refusal names the file and what was expected."""

import json
import shutil

import pytest

from artifact import ArtifactError, load_artifact, write_artifact
from artifact.manifest import derive_version


def edit(folder, change):
    """Changes a manifest the way somebody would who also brings its version up to date."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["version"] = derive_version(manifest)
    path.write_text(json.dumps(manifest))


def refusal(folder) -> str:
    with pytest.raises(ArtifactError) as caught:
        load_artifact(folder)
    return str(caught.value)


def test_what_was_written_loads(folder):
    artifact = load_artifact(folder)
    assert artifact.manifest.name == "tiny"
    assert artifact.variant_path("cpu-fp32").read_bytes() == b"weights"
    assert (folder / "MODEL_CARD.md").read_text() == "# card\n"


def test_the_version_depends_on_every_content(folder, contents, tokenizer_path, tmp_path):
    before = load_artifact(folder).manifest.version
    contents["calibration"]["slope"] = 3.0
    files = {"cpu-fp32.onnx": tmp_path / "source.onnx", "tokenizer.json": tokenizer_path}
    assert write_artifact(folder, contents, files, "").version != before


def test_a_folder_that_is_not_there(tmp_path):
    assert refusal(tmp_path / "nowhere").endswith("nowhere: expected an artifact folder")


def test_a_folder_without_a_manifest(tmp_path):
    assert "manifest.json: expected a manifest in an artifact folder" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_a_manifest_that_is_not_json(folder, text):
    (folder / "manifest.json").write_text(text)
    assert "manifest.json: expected JSON" in refusal(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema_version": 99}'])
def test_a_manifest_of_another_schema(folder, text):
    (folder / "manifest.json").write_text(text)
    assert "expected schema_version 1, found" in refusal(folder)


def test_a_manifest_edited_by_hand(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"slope": 2.0', '"slope": 2.5'))
    assert "manifest.json: expected version" in refusal(folder)


@pytest.mark.parametrize("name", ["../secret.onnx", "/etc/passwd", ".hidden", "a/b.onnx", ""])
def test_a_manifest_that_points_outside_its_folder(folder, name):
    edit(folder, lambda manifest: manifest["variants"][0].update(file=name))
    assert "manifest.json: at variants.0.file:" in refusal(folder)


def test_an_unknown_field_is_named(folder):
    edit(folder, lambda manifest: manifest["calibration"].update(curve=1))
    assert "manifest.json: at calibration.curve:" in refusal(folder)


def test_a_missing_variant_file(folder):
    (folder / "cpu-fp32.onnx").unlink()
    assert "cpu-fp32.onnx: expected the file that the manifest lists" in refusal(folder)


def test_a_variant_cut_short(folder):
    (folder / "cpu-fp32.onnx").write_bytes(b"weigh")
    assert "cpu-fp32.onnx: expected 7 bytes, found 5" in refusal(folder)


def test_a_variant_changed_in_place(folder):
    (folder / "cpu-fp32.onnx").write_bytes(b"weighty")
    assert "cpu-fp32.onnx: expected sha256" in refusal(folder)


def test_a_changed_tokenizer(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    assert "tokenizer.json: expected sha256" in refusal(folder)


def test_a_missing_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json: expected the file that the manifest lists" in refusal(folder)


def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings(folder):
    edit(folder, lambda manifest: manifest["tokenizer"].update(vocab_size=5))
    assert "tokenizer.json: expected at most 5 tokens" in refusal(folder)


def test_a_variant_that_the_artifact_lacks(folder):
    with pytest.raises(ArtifactError, match="expected a variant 'cuda-fp16'; it has cpu-fp32"):
        load_artifact(folder).variant_path("cuda-fp16")


def test_a_write_that_does_not_verify_leaves_what_was_there(folder, contents, tokenizer_path, tmp_path):
    before = load_artifact(folder).manifest.version
    contents["variants"][0]["sha256"] = "0" * 64
    files = {"cpu-fp32.onnx": tmp_path / "source.onnx", "tokenizer.json": tokenizer_path}
    with pytest.raises(ArtifactError, match="expected sha256 0000"):
        write_artifact(folder, contents, files, "")
    assert load_artifact(folder).manifest.version == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "source.onnx"]


def test_a_folder_of_other_things_is_never_replaced(contents, tokenizer_path, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    files = {"cpu-fp32.onnx": tmp_path / "source.onnx", "tokenizer.json": tokenizer_path}
    with pytest.raises(ArtifactError, match="expected an artifact folder to replace, an empty folder, or nothing"):
        write_artifact(home, contents, files, "")
    assert (home / "thesis.txt").exists()


def test_a_folder_that_holds_more_than_an_artifact_is_never_replaced(contents, tokenizer_path, tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "a web site"}')
    (tmp_path / "index.html").write_text("years of work")
    with pytest.raises(ArtifactError, match="expected an artifact folder to replace, an empty folder, or nothing"):
        write_artifact(tmp_path, contents, {}, "")
    assert (tmp_path / "index.html").read_text() == "years of work"


def test_an_empty_folder_may_become_an_artifact(contents, tokenizer_path, tmp_path):
    (tmp_path / "new").mkdir()
    files = {"cpu-fp32.onnx": tmp_path / "source.onnx", "tokenizer.json": tokenizer_path}
    write_artifact(tmp_path / "new", contents, files, "")
    assert load_artifact(tmp_path / "new")


def test_an_artifact_can_be_moved(folder, tmp_path):
    shutil.move(folder, tmp_path / "elsewhere")
    assert load_artifact(tmp_path / "elsewhere").folder == tmp_path / "elsewhere"

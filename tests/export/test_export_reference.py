"""What a service compares its inputs with: from calibration pairs, or put into a finished artifact."""

import json
import shutil

import pytest

from artifact import Manifest
from artifact.loading import load_artifact, read_manifest
from artifact.reading import SIGNALS
from export.__main__ import main
from export.input_reference import input_reference
from tests.service.tiny_model import build_tiny_artifact

PAIRS = [("usb", {"title": "usb cable"}), ("usb", {"title": "red case"}), ("red shoe", {"title": "red shoe for phone"})]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    build_tiny_artifact(folder, tmp_path_factory.mktemp("scratch"))
    return folder


@pytest.fixture
def artifact(built, tmp_path):
    return shutil.copytree(built, tmp_path / "artifact")


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps({"query": query, "product": product}) for query, product in PAIRS))
    return path


def test_every_query_counts_once_and_every_product_as_often_as_it_stands_there(artifact):
    found = input_reference(load_artifact(artifact).tokenizer, "cross-encoder", PAIRS, "made up")
    assert set(found.signals) == set(SIGNALS) - {"score"}
    assert found.signals["query_tokens"].counts[:2] == (1, 1)
    assert found.signals["query_tokens"].inputs == 2
    assert found.signals["product_tokens"].counts[:2] == (2, 1)
    assert found.data == "made up"


def test_a_finished_artifact_gets_a_reference_and_keeps_its_version_and_files(artifact, pairs, capsys):
    before = read_manifest(artifact)
    assert before.input_reference is None
    files = {path.name: path.read_bytes() for path in artifact.iterdir() if path.name != "manifest.json"}
    assert main(["reference", str(artifact), str(pairs)]) == 0
    assert f"version {before.version}" in capsys.readouterr().out
    after = load_artifact(artifact).manifest
    assert after.input_reference is not None
    assert after.input_reference.data == "pairs.jsonl"
    assert after.model_copy(update={"input_reference": None}) == before
    assert {path.name: path.read_bytes() for path in artifact.iterdir() if path.name != "manifest.json"} == files


def test_measuring_latency_again_keeps_the_reference(artifact, pairs):
    assert main(["reference", str(artifact), str(pairs)]) == 0
    reference = read_manifest(artifact).input_reference
    assert main(["latency", str(artifact)]) == 0
    assert read_manifest(artifact).input_reference == reference


def test_a_manifest_from_before_there_were_references_loads_with_its_version(artifact):
    path = artifact / "manifest.json"
    contents = json.loads(path.read_text())
    del contents["input_reference"]
    path.write_text(json.dumps(contents))
    manifest = read_manifest(artifact)
    assert isinstance(manifest, Manifest)
    assert manifest.version == contents["version"]


@pytest.mark.parametrize("content", ["", "\n\n", '{"query": "usb"}'])
def test_a_file_without_pairs_is_refused_and_the_artifact_stays(artifact, pairs, content, capsys):
    before = (artifact / "manifest.json").read_bytes()
    pairs.write_text(content)
    assert main(["reference", str(artifact), str(pairs)]) == 1
    assert "expected" in capsys.readouterr().err
    assert (artifact / "manifest.json").read_bytes() == before

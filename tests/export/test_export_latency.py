import pytest

from artifact.loading import load_artifact
from export.__main__ import main
from export.latency import BATCH_TOKENS, measure_latency, shapes
from tests.service.tiny_model import build_tiny_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    build_tiny_artifact(folder, tmp_path_factory.mktemp("scratch"))
    return folder


def test_every_length_up_to_the_limit_is_measured_alone_and_in_micro_batches():
    measured = shapes(80)
    assert sorted({tokens for _, tokens in measured}) == [16, 24, 32, 48, 64, 80]
    assert {pairs for pairs, tokens in measured if tokens == 16} == {1, 4, 8, 16}
    assert {pairs for pairs, tokens in measured if tokens == 80} == {1, 3}
    assert max(pairs * tokens for pairs, tokens in measured) <= max(BATCH_TOKENS)


def test_a_table_has_the_time_of_every_shape(artifact):
    model = (artifact / "model-fp32.onnx").read_bytes()
    points = measure_latency(model, max_tokens=32, vocab_size=40, rounds=3)
    assert [(point.pairs, point.tokens) for point in points] == shapes(32)
    assert all(0 < point.seconds < 10 for point in points)


def test_measuring_again_changes_nothing_but_the_table_not_even_the_version(artifact, capsys):
    before = load_artifact(artifact).manifest
    assert all(variant.latency == () for variant in before.variants)
    files = {path.name: path.read_bytes() for path in artifact.iterdir() if path.name != "manifest.json"}
    assert main(["latency", str(artifact)]) == 0
    after = load_artifact(artifact).manifest
    assert f"version {after.version}" in capsys.readouterr().out
    assert all([(point.pairs, point.tokens) for point in v.latency] == shapes(32) for v in after.variants)
    assert {path.name: path.read_bytes() for path in artifact.iterdir() if path.name != "manifest.json"} == files
    without = [variant.model_copy(update={"latency": ()}) for variant in after.variants]
    assert after.model_copy(update={"variants": tuple(without)}) == before


def test_a_folder_that_is_no_artifact_is_refused(tmp_path, capsys):
    assert main(["latency", str(tmp_path)]) == 1
    assert "manifest.json" in capsys.readouterr().err

"""The hand-made split model of the tests obeys what the service and the exporters rely on."""

import numpy as np
import onnxruntime
import pytest

from artifact import Artifact, load_artifact
from artifact.product_states import states_of_batch

from .split_model import GOLDEN, QUERY, build_split_artifact

OUTPUTS = ["tokens", "scales", "pooled", "pooled_scales"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("split")
    build_split_artifact(folder / "artifact", folder / "parts")
    return load_artifact(folder / "artifact")


def session(artifact: Artifact, file: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(artifact.folder / file), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["cpu-fp32", "cpu-int8"])
@pytest.mark.parametrize("padding", [0, 77])
def test_a_batch_gives_the_golden_logits_whatever_stands_in_its_padding(
    artifact: Artifact, name: str, padding: int
) -> None:
    variant = artifact.manifest.variant(name)
    joined, products, queries = (session(artifact, graph.file) for graph in variant.graphs())
    batch = artifact.tokenizer.collate_alone(artifact.tokenizer.encode_products([each for _, each in GOLDEN]))
    feeds = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    states = states_of_batch(*products.run(OUTPUTS, feeds), batch.attention_mask.sum(axis=1))
    lengths = np.array([len(state.tokens) for state in states])
    tokens = np.full((len(states), lengths.max(), states[0].tokens.shape[1]), padding, states[0].tokens.dtype)
    scales = np.full(tokens.shape[:2], padding, np.float32)
    for row, state in enumerate(states):
        tokens[row, : lengths[row]], scales[row, : lengths[row]] = state.tokens, state.scales
    gathered = {"tokens": tokens, "scales": scales, "lengths": lengths}
    gathered["pooled"] = np.stack([state.pooled for state in states])
    gathered["pooled_scales"] = np.array([state.pooled_scale for state in states], np.float32)
    for row, (query, _) in enumerate(GOLDEN):
        alone = artifact.tokenizer.collate_alone([artifact.tokenizer.encode_query(query)])
        feeds = {"input_ids": alone.input_ids, "attention_mask": alone.attention_mask}
        encoded = dict(zip(QUERY, queries.run(list(QUERY), feeds), strict=True))
        logits = joined.run(["logits"], {**encoded, **gathered})[0]
        assert logits.shape == (3, 1)
        expected = artifact.manifest.golden_pairs[row].logits[name]
        assert logits[row, 0] == pytest.approx(expected, abs=variant.golden_tolerance)


def test_golden_logits_tell_products_apart_and_int8_stays_close(artifact: Artifact) -> None:
    logits = [pair.logits for pair in artifact.manifest.golden_pairs]
    assert len({round(each["cpu-fp32"], 2) for each in logits}) == 3
    for each in logits:
        assert each["cpu-int8"] == pytest.approx(each["cpu-fp32"], abs=0.1)
        assert each["cpu-int8"] != each["cpu-fp32"]

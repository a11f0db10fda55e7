"""Several outputs become one logit: in the graph, in torch, and as the arithmetic of expected gains says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification

from artifact import load_artifact
from export import ExportError, HubExport, export_from_hf
from export.generator import made_up_pairs
from export.graph import GraphWriter, serialise
from export.head import choose_gains, one_logit, write_one_logit
from export.runtime import EncodedPairs, logits_of, open_session

from .families import CASES, write_pairs
from .tiny import silent


def in_the_graph(logits: np.ndarray, gains: tuple[float, ...]) -> np.ndarray:
    writer = GraphWriter()
    outputs = writer.op("Reshape", writer.op("Gather", writer.constant("z", logits), "rows"), writer.integers(0, -1))
    write_one_logit(writer, outputs, gains, "logits")
    session = open_session(serialise(writer.model(("rows",), "logits")))
    return np.asarray(session.run(None, {"rows": np.arange(len(logits))[:, None]})[0])[:, 0]


@given(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), st.sampled_from([(0, 0.5, 1), (0.1, 0.9, 0.4)]))
def test_the_sigmoid_of_the_logit_is_the_expected_gain(logits: list[float], gains: tuple[float, ...]) -> None:
    z = np.array(logits)
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    found = one_logit(torch.tensor([logits]), gains).double().sigmoid().item()
    assert found == pytest.approx(float(p @ np.array(gains)), abs=1e-5)


@pytest.mark.parametrize("gains", [(0.0, 1.0), (0.0, 0.1, 0.5, 1.0), (0.2, 0.7, 0.9), (1.0, 0.0, 0.0)])
def test_the_graph_computes_what_torch_computes(gains: tuple[float, ...]) -> None:
    logits = np.random.default_rng(1).normal(size=(20, len(gains))).astype(np.float32) * 5
    expected = one_logit(torch.from_numpy(logits), gains).numpy()
    np.testing.assert_allclose(in_the_graph(logits, gains), expected, atol=1e-5)


def test_outputs_that_overflow_an_exponential_give_a_finite_logit() -> None:
    logits = np.array([[500, -500, 0], [-500, 0, 500]], np.float32)
    np.testing.assert_allclose(in_the_graph(logits, (0, 0.5, 1)), [-500, 500 + np.log(2)], rtol=1e-6)


def test_two_outputs_give_their_difference() -> None:
    logits = np.array([[0.25, 3.5], [2.0, -1.0]], np.float32)
    assert in_the_graph(logits, choose_gains(2, None)).tolist() == [3.25, -3.0]


def test_gains_are_evenly_spaced_unless_told() -> None:
    assert choose_gains(1, None) == ()
    assert choose_gains(5, None) == (0, 0.25, 0.5, 0.75, 1)
    assert choose_gains(3, (0, 0.1, 1)) == (0, 0.1, 1)


@pytest.mark.parametrize(
    ("outputs", "gains", "problem"),
    [
        (1, (1.0,), "leave the gains out"),
        (3, (0, 1), "expected 3 gains"),
        (2, (0, 1.5), "from 0 to 1"),
        (2, (0, float("nan")), "from 0 to 1"),
        (2, (0.5, 0.5), "tell the outputs apart"),
    ],
)
def test_gains_that_make_no_logit_are_refused(outputs: int, gains: tuple[float, ...], problem: str) -> None:
    with pytest.raises(ExportError, match=problem):
        choose_gains(outputs, gains)


@pytest.mark.parametrize(
    ("family", "outputs", "gains"),
    [("xlm-roberta", 2, None), ("bert", 4, (0.0, 0.1, 0.5, 1.0)), ("modernbert", 3, None)],
)
def test_an_artifact_of_several_outputs_gives_one_logit(
    tmp_path: Path, family: str, outputs: int, gains: tuple[float, ...] | None
) -> None:
    folder = CASES[family].write(tmp_path / "checkpoint", outputs)
    calibration = write_pairs(tmp_path / "pairs.jsonl", 64)
    plan = HubExport(str(folder), "several", "2026-01-01", gains=gains, calibration=calibration)
    export_from_hf(plan, tmp_path / "a", silent)
    artifact = load_artifact(tmp_path / "a")
    pairs = EncodedPairs(artifact.tokenizer, made_up_pairs(10, seed=1))
    feeds = {name: torch.from_numpy(array) for name, array in pairs.feeds(range(10)).items()}
    if not CASES[family].token_types:
        del feeds["token_type_ids"]
    with torch.inference_mode():
        z = AutoModelForSequenceClassification.from_pretrained(folder)(**feeds).logits.double()
    expected_gain = z.softmax(dim=1) @ torch.tensor(gains or np.linspace(0, 1, outputs), dtype=torch.float64)
    found = pairs.logits(logits_of(open_session(artifact.variant_path("cpu-fp32").read_bytes())), [range(10)])
    np.testing.assert_allclose(found, expected_gain.logit().numpy(), atol=1e-4)
    assert f"LABEL_{outputs - 1} 1." in (tmp_path / "a" / "MODEL_CARD.md").read_text()

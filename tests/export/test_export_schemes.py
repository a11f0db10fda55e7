"""The search for an int8 scheme, on a model of one operand pair whose errors are set by hand, and on the tiny one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifact import load_artifact
from export import ExportError, StudentExport, export_student
from export.bert import build_bert
from export.checkpoint import load_checkpoint
from export.faithful import Lists, encoded_lists
from export.generator import made_up_pairs
from export.graph import Float32, serialise
from export.quantise import Int8, Scheme
from export.ranges import METHODS, Histogram, Measured, measure
from export.runtime import EncodedPairs, logits_of, open_session, optimised_operators
from export.schemes import Search, smoothing

from .tiny import silent

TAGS = ("0.in", "0.wide", "1.in")
HURTS = {"0.in": 0.1, "0.wide": 3.0, "1.in": 1.0}
"""How far each operand's 8 bits move logits whose spread is about 1."""


class Model:
    """Logits of pairs, by what a scheme leaves in int8: each operand adds noise of its own size."""

    def __init__(self, pairs: EncodedPairs, smooth_helps: bool) -> None:
        self.pairs = pairs
        self.smooth_helps = smooth_helps

    def fp32(self, feeds):
        return feeds["input_ids"].sum(axis=1) % 97 / 30

    def build(self, scheme: Scheme):
        by_tag = {tag: size for tag, size in HURTS.items() if tag not in scheme.kept}
        factor = 0.01 if scheme.smoothing and self.smooth_helps else 1.0

        def run(feeds):
            sums = feeds["input_ids"].sum(axis=1)
            noise = [size * np.sin(sums * (7 + i)) for i, size in enumerate(by_tag.values())]
            return self.fp32(feeds) + factor * np.sum(noise, axis=0)

        return run

    def measure(self, _):
        values = np.random.default_rng(0).normal(size=1000)
        counts, edges = np.histogram(values, bins=4096)
        each = Measured(Histogram(float(edges[0]), float(edges[-1]), counts), np.ones(4, np.float32))
        return dict.fromkeys(TAGS, each)


@pytest.fixture
def pairs(exported: Path) -> EncodedPairs:
    return EncodedPairs(load_artifact(exported).tokenizer, made_up_pairs(40))


@pytest.fixture
def lists(exported: Path) -> Lists:
    made = made_up_pairs(2000)
    return encoded_lists(load_artifact(exported).tokenizer, [(made[i : i + 20], ()) for i in range(0, 2000, 20)])


def search(model: Model, lists: Lists | None, say=silent) -> Search:
    weights = {tag: [np.ones((3, 4), np.float32)] for tag in TAGS}
    return Search(model.build, model.measure, weights, model.fp32, model.pairs, lists, say)


def test_without_lists_the_first_scheme_is_taken(pairs: EncodedPairs) -> None:
    found = search(Model(pairs, smooth_helps=True), None).run()
    assert (found.smoothed, found.scheme.kept, found.faithfulness) == (False, frozenset(), None)
    assert set(found.errors) == set(METHODS)


def test_smoothing_is_taken_where_plain_ranges_rank_otherwise(pairs: EncodedPairs, lists: Lists) -> None:
    found = search(Model(pairs, smooth_helps=True), lists).run()
    assert (found.smoothed, found.scheme.kept) == (True, frozenset())
    assert found.faithfulness is not None
    assert found.faithfulness.suffices
    assert found.choices()["int8_ranges"].endswith(", smoothed")


def test_the_operands_that_hurt_most_stay_in_fp32_as_few_as_do(pairs: EncodedPairs, lists: Lists) -> None:
    lines: list[str] = []
    found = search(Model(pairs, smooth_helps=False), lists, lines.append).run()
    assert list(found.sensitivity) == ["0.wide", "1.in", "0.in"]
    assert found.scheme.kept == {"0.wide", "1.in", "0.in"}
    assert found.choices()["fp32_operands"] == "0.in, 0.wide, 1.in"
    assert [line for line in lines if "2 operands in fp32" in line]


def test_what_cannot_rank_as_fp32_does_is_refused_and_with_few_pairs_warned_of(
    pairs: EncodedPairs, lists: Lists, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.schemes.MOST_KEPT", 1)
    with pytest.raises(ExportError, match=r"does not rank as fp32 does, with 1 operands in fp32: Kendall tau 0\."):
        search(Model(pairs, smooth_helps=False), lists).run()
    few = encoded_lists(load_artifact(exported).tokenizer, [(made_up_pairs(20), ())])
    lines: list[str] = []
    search(Model(pairs, smooth_helps=False), few, lines.append).run()
    assert any(line.startswith("warning: cpu-int8 does not rank") for line in lines)


def test_smoothing_moves_the_spread_between_channels_to_the_weights() -> None:
    largest = np.array([1, 1, 1, 100], np.float32)
    divisors = smoothing(largest, [np.ones((3, 4), np.float32), np.full((2, 4), 0.5, np.float32)])
    assert np.prod(divisors) == pytest.approx(1, rel=1e-4)
    assert divisors[3] / divisors[0] == pytest.approx(100**0.75, rel=1e-4)
    assert divisors[1] == divisors[0]
    heavy = smoothing(np.ones(2, np.float32), [np.array([[1.0, 16.0]], np.float32)])
    assert heavy[0] / heavy[1] == pytest.approx(16**0.25, rel=1e-4)


@pytest.mark.parametrize("kept", [frozenset(), frozenset({"0.wide"}), frozenset({"0.in", "1.in", "1.context"})])
@pytest.mark.parametrize("spelling", ["fused", "unfused"])
def test_smoothed_graphs_with_operands_in_fp32_come_closer_to_fp32(
    exported: Path, checkpoint_folder: Path, spelling, kept: frozenset[str]
) -> None:
    checkpoint = load_checkpoint(checkpoint_folder, silent)
    weights, shape = checkpoint.weights(), checkpoint.shape
    pairs = EncodedPairs(load_artifact(exported).tokenizer, made_up_pairs(60))
    exposed, taps = build_bert(weights, shape, Float32(), expose_taps=True)
    session = open_session(serialise(exposed))
    divisors = {tag: np.exp(np.random.default_rng(1).normal(size=64 if "wide" in tag else 32) / 3) for tag in taps}
    divisors = {tag: values.astype(np.float32) for tag, values in divisors.items()}
    ranges = {tag: METHODS["min-max"](m.histogram) for tag, m in measure(session, taps, pairs, divisors).items()}
    model = serialise(build_bert(weights, shape, Int8(Scheme(ranges, divisors, kept)), spelling)[0])
    checkpoint.check_operators(optimised_operators(model), "int8", spelling, kept)
    if kept:
        with pytest.raises(ExportError):
            checkpoint.check_operators(optimised_operators(model), "int8", spelling)
    expected = pairs.logits(logits_of(open_session(serialise(build_bert(weights, shape, Float32())[0]))))
    found = pairs.logits(logits_of(open_session(model)))
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.2 * expected.std()


def test_an_export_says_how_int8_ranks_labelled_lists(plan: StudentExport, tmp_path: Path) -> None:
    made = made_up_pairs(60, seed=9)
    lists = [(made[i : i + 12], [j / 11 for j in range(12)]) for i in range(0, 60, 12)]
    export_student(replace(plan, lists=lists), tmp_path / "a", silent)
    card = (tmp_path / "a" / "MODEL_CARD.md").read_text()
    assert "int8 against fp32 on candidate lists: Kendall tau" in card
    manifest = load_artifact(tmp_path / "a").manifest
    int8, fp32 = manifest.variant("cpu-int8"), manifest.variant("cpu-fp32")
    assert int8 is not None
    assert fp32 is not None
    assert int8.choices["attention"] == "fused"
    assert int8.choices["int8_ranges"].split(",")[0] in METHODS
    assert fp32.choices == {"attention": "fused"}

"""The three graphs of a split student against torch, in every shape that a student may have."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import export.split.states
from artifact.product_states import ZERO_POINT
from export import ExportError
from export.generator import made_up_pairs
from export.golden import GOLDEN_PAIRS
from export.graph import Float32, GraphWriter, Tensor, serialise
from export.runtime import open_session
from export.split.checkpoint import SplitCheckpoint, read_split
from export.split.compile import compile_split_fp32, compile_split_int8
from export.split.parity import check_against_student, check_as_written, measure_split_independence
from export.split.runtime import SplitModel, SplitPairs, Texts, gathered
from export.split.states import ProductTokens

from .split_tiny import SHAPES, write_split
from .tiny import silent

CORNERS = [
    ("", {"title": ""}),
    ("", {"title": "desk lamp"}),
    ("lamp", {"title": ""}),
    ("lamp", {"title": None}),
    ("x", {"title": "x"}),
]
"""Queries and products without a token, and of one."""

PAIRS = [*CORNERS, *GOLDEN_PAIRS, *made_up_pairs(120, seed=3)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], SplitCheckpoint]:
    """A student of each shape, written once."""
    known: dict[str, SplitCheckpoint] = {}

    def read(name: str) -> SplitCheckpoint:
        if name not in known:
            known[name] = read_split(write_split(tmp_path_factory.mktemp("split"), **SHAPES[name]))
        return known[name]

    return read


@pytest.fixture(scope="module")
def int8(checkpoint: Callable[[str], SplitCheckpoint]) -> Callable[[str], SplitModel]:
    """The int8 graphs of each shape."""
    known: dict[str, SplitModel] = {}

    def compiled(name: str) -> SplitModel:
        if name not in known:
            fp32, _ = compile_split_fp32(checkpoint(name), PAIRS[:8], silent)
            known[name] = compile_split_int8(checkpoint(name), fp32, PAIRS[:70], PAIRS[70:], silent)[0].model
        return known[name]

    return compiled


def built(checkpoint: SplitCheckpoint, states: str = "fp32") -> SplitModel:
    graphs = checkpoint.build(lambda _: Float32(), states)
    return SplitModel({part: serialise(model) for part, (model, _) in graphs.items()})


@pytest.mark.parametrize("name", SHAPES)
def test_fp32_gives_the_logits_that_torch_gives(checkpoint: Callable[[str], SplitCheckpoint], name: str) -> None:
    student = checkpoint(name).student
    wanted = student.logits(PAIRS)
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(SplitPairs(student.tokenizer, PAIRS).logits(built(checkpoint(name))), wanted, atol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_the_layers_of_a_random_student_move_its_logits(
    checkpoint: Callable[[str], SplitCheckpoint], name: str
) -> None:
    student = checkpoint(name).student
    if student.interaction.layers:
        with_head = student.logits(PAIRS)
        head = student.interaction.head.weight.data.clone()
        student.interaction.head.weight.data.zero_()
        without = student.logits(PAIRS)
        student.interaction.head.weight.data.copy_(head)
        assert np.abs(with_head - without).max() > 0.05


@pytest.mark.parametrize("name", SHAPES)
def test_states_in_eight_bits_change_little(checkpoint: Callable[[str], SplitCheckpoint], name: str) -> None:
    pairs = SplitPairs(checkpoint(name).student.tokenizer, PAIRS)
    fp32, states = (pairs.logits(built(checkpoint(name), kind)) for kind in ("fp32", "int8"))
    assert 0 < np.sqrt(np.mean((fp32 - states) ** 2)) < 0.02 * fp32.std()


@pytest.mark.parametrize("name", SHAPES)
def test_int8_stays_near_fp32(
    checkpoint: Callable[[str], SplitCheckpoint], int8: Callable[[str], SplitModel], name: str
) -> None:
    pairs = SplitPairs(checkpoint(name).student.tokenizer, PAIRS)
    fp32, found = pairs.logits(built(checkpoint(name))), pairs.logits(int8(name))
    assert np.sqrt(np.mean((fp32 - found) ** 2)) < 0.2 * fp32.std()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_logit_does_not_depend_on_what_stands_beside_it(
    checkpoint: Callable[[str], SplitCheckpoint], int8: Callable[[str], SplitModel], name: str, precision: str
) -> None:
    model = int8(name) if precision == "int8" else built(checkpoint(name))
    found = measure_split_independence(model, checkpoint(name).student.tokenizer, PAIRS, seed=1)
    assert found.worst <= 1e-4
    assert found.joined.pairs == len(PAIRS)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_stands_in_padding_does_not_matter(
    checkpoint: Callable[[str], SplitCheckpoint], int8: Callable[[str], SplitModel], precision: str
) -> None:
    student = checkpoint("three layers").student
    model = int8("three layers") if precision == "int8" else built(checkpoint("three layers"))
    encoded = SplitPairs(student.tokenizer, PAIRS)
    query = model.encode_query(student.tokenizer.collate_alone([encoded.queries[40]]).feeds())
    feeds = {
        name: np.copy(array)
        for name, array in gathered(Texts(student.tokenizer, encoded.products).states(model)).items()
    }
    padding = np.arange(feeds["tokens"].shape[1]) >= feeds["lengths"][:, None]
    wanted = model.interact({**query, **feeds})
    for rubbish in (np.nan, np.inf, -7.0) if precision == "fp32" else (0, 127, 255):
        feeds["tokens"][padding] = rubbish
        feeds["scales"][padding] = np.nan
        np.testing.assert_array_equal(model.interact({**query, **feeds}), wanted)


def test_states_are_what_the_integers_and_scales_say(checkpoint: Callable[[str], SplitCheckpoint]) -> None:
    student = checkpoint("two layers").student
    texts = Texts(student.tokenizer, SplitPairs(student.tokenizer, PAIRS).products)
    for full, kept in zip(
        *(texts.states(built(checkpoint("two layers"), kind)) for kind in ("fp32", "int8")), strict=True
    ):
        assert kept.tokens.dtype == np.uint8
        assert kept.tokens.shape == full.tokens.shape
        values = (kept.tokens.astype(np.float32) - ZERO_POINT) * kept.scales[:, None]
        np.testing.assert_allclose(values, full.tokens, atol=float(kept.scales.max()) / 2 + 1e-6)
        np.testing.assert_allclose(np.linalg.norm(full.tokens, axis=1), 1, atol=1e-5)
        assert np.abs(kept.tokens.astype(int) - ZERO_POINT).max(axis=1).min() == 127
        pooled = (kept.pooled.astype(np.float32) - ZERO_POINT) * kept.pooled_scale
        np.testing.assert_allclose(pooled, full.pooled, atol=kept.pooled_scale / 2 + 1e-6)
        assert (full.scales == 1).all()
        assert full.pooled_scale == 1


def test_a_product_without_tokens_keeps_the_special_ones(checkpoint: Callable[[str], SplitCheckpoint]) -> None:
    student = checkpoint("two layers").student
    empty, one = Texts(student.tokenizer, student.tokenizer.encode_products([{"title": ""}, {"title": "x"}])).states(
        built(checkpoint("two layers"))
    )
    assert (len(empty.tokens), len(one.tokens)) == (2, 1)


def test_products_with_weights_are_as_many_as_the_design_says(checkpoint: Callable[[str], SplitCheckpoint]) -> None:
    fp32, _ = compile_split_fp32(checkpoint("three layers"), PAIRS[:8], silent)
    compiled, _ = compile_split_int8(checkpoint("three layers"), fp32, PAIRS[:70], PAIRS[70:], silent)
    counts = {
        part: Counter(node.op_type for node in onnx.load_from_string(model).graph.node)["MatMulIntegerToFloat"]
        for part, model in compiled.graphs.items()
    }
    assert counts == {"product": 6, "query": 6 * 2 + 3, "interaction": 4 + 8 + 8 + 1}


@pytest.mark.parametrize("width", [128, 130, 192, 384])
def test_a_products_scores_do_not_depend_on_the_longest_beside_it(width: int) -> None:
    g = GraphWriter()
    products = ProductTokens(g, "fp32", False, width)
    g.op("Identity", products.matched("rows"), output="scores")
    inputs = [
        Tensor("rows", TensorProto.FLOAT, (1, "asking", width)),
        Tensor("tokens", TensorProto.FLOAT, ("n", "longest", width)),
        Tensor("scales", TensorProto.FLOAT, ("n", "longest")),
        Tensor("lengths", TensorProto.INT64, ("n",)),
    ]
    scores = Tensor("scores", TensorProto.FLOAT, ("n", "asking", "longest"))
    session = open_session(serialise(g.model_of("scores", inputs, [scores])))
    random = np.random.default_rng(0)
    rows, tokens = random.standard_normal((1, 24, width)), random.standard_normal((2, 100, width))

    def scored(longest: int) -> NDArray[np.float32]:
        feeds = {
            "rows": rows.astype(np.float32),
            "tokens": tokens[:, :longest].astype(np.float32),
            "scales": np.ones((2, longest), np.float32),
            "lengths": np.full(2, 20),
        }
        found: NDArray[np.float32] = session.run(["scores"], feeds)[0][:, :, :20]
        return found

    np.testing.assert_allclose(scored(20), rows @ tokens[:, :20].transpose(0, 2, 1), atol=1e-4)
    for longest in (21, 32, 33, 64, 65, 100):
        np.testing.assert_array_equal(scored(longest), scored(20))


def test_padding_that_is_looked_at_is_refused(
    checkpoint: Callable[[str], SplitCheckpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.split.states, "MASKED", 0.5)  # a real graph, really wrong
    model, student = built(checkpoint("two layers")), checkpoint("two layers").student
    assert measure_split_independence(model, student.tokenizer, PAIRS).worst > 1e-3
    with pytest.raises(ExportError, match="fp32 ONNX and torch differ"):
        check_against_student(student, model, PAIRS)


def test_a_graph_that_the_optimiser_changes_is_refused(checkpoint: Callable[[str], SplitCheckpoint]) -> None:
    model, _ = checkpoint("two layers").build(lambda _: Float32(), "fp32")["interaction"]
    check_as_written("interaction", serialise(model))
    model.graph.node.append(helper.make_node("Softmax", ["head"], ["folded"], name="of a constant"))
    model.graph.output.append(helper.make_tensor_value_info("folded", TensorProto.FLOAT, ["a", "b"]))
    with pytest.raises(ExportError, match="2 Softmax where 3 were expected"):
        check_as_written("interaction", serialise(model))


def test_a_folder_that_is_no_student_is_refused(tmp_path: Path) -> None:
    folder = write_split(tmp_path)
    (folder / "interaction.safetensors").write_bytes(b"")
    with pytest.raises(ExportError, match="expected the checkpoint of a split student"):
        read_split(folder)


def test_a_weight_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    folder = write_split(tmp_path)
    student = read_split(folder).student
    student.interaction.head.weight.data[0, 0] = float("nan")
    student.save(folder)
    with pytest.raises(ExportError, match=r"interaction\.head\.weight holds NaN"):
        read_split(folder)

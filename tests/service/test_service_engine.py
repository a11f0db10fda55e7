"""The ONNX engine and the proof that a model scores as it must, with real sessions."""

import sys

import numpy as np
import onnx
import pytest

from artifact import ArtifactError, load_artifact
from service.metrics import Metrics
from service.model import check_golden_pairs, load_model
from service.onnx_engine import OnnxEngine
from service.sessions import EngineError, choose_variant, open_session, run, run_bound
from service.settings import Settings

from .tiny_model import GOLDEN


@pytest.fixture(scope="module")
def artifact(tiny_artifact):
    return load_artifact(tiny_artifact)


def engine_of(artifact, name="cpu-fp32", cache_bytes=0):
    return OnnxEngine(artifact, artifact.manifest.variant(name), cache_bytes, Metrics())


def altered(artifact, tmp_path, change):
    """The artifact with its fp32 graph changed, behind the same manifest."""
    for each in artifact.folder.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    path = tmp_path / artifact.manifest.variant("cpu-fp32").file
    model = onnx.load(str(path))
    change(model.graph)
    onnx.save(model, str(path))
    return type(artifact)(tmp_path, artifact.manifest, artifact.tokenizer)


@pytest.mark.parametrize("variant", ["cpu-fp32", "cpu-int8"])
def test_a_pair_has_one_logit_alone_in_a_batch_and_beside_the_longest(artifact, variant):
    engine = engine_of(artifact, variant)
    query = engine.prepare_query("red usb cable")
    titles = ["usb", "red cable for laptop", "", "garden hose " * 30, *(f"{i} phone case" * (i % 9) for i in range(60))]
    products = engine.prepare_products([{"title": title} for title in titles])
    together = engine.score_pairs([(query, product) for product in products])
    alone = [engine.score_pairs([(query, product)])[0] for product in products]
    assert together == pytest.approx(alone, abs=1e-4)


def test_products_of_eight_bits_are_exact_on_every_processor(tmp_path):
    # Two products of the largest numbers overflow 16 bits, in which processors without VNNI add them up.
    inner, columns = 64, 16
    weights = np.full((inner, columns), 127, np.int8)
    constants = {"w": weights, "one": np.float32(1), "zero": np.uint8(0), "w_zero": np.int8(0)}
    node = onnx.helper.make_node(
        "MatMulIntegerToFloat", ["x", "w", "one", "one", "zero", "w_zero"], ["y"], domain="com.microsoft"
    )
    graph = onnx.helper.make_graph(
        [node],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, ["rows", inner])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", columns])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), str(tmp_path / "product.onnx"))
    session = open_session(tmp_path / "product.onnx", "cpu")
    (found,) = run(session, ["y"], {"x": np.full((3, inner), 255, np.uint8)})
    assert (found == 255 * 127 * inner).all()


def test_cached_products_get_the_same_ids_in_the_same_order(artifact):
    engine, plain = engine_of(artifact, cache_bytes=100_000), engine_of(artifact)
    products = [{"title": "usb"}, {"title": "red shoe", "brand": "acme"}, {"title": "usb"}, {"title": ""}]
    expected = [ids.tolist() for ids in plain.prepare_products(products)]
    for _ in range(2):
        assert [ids.tolist() for ids in engine.prepare_products(products)] == expected
    mixed = [{"title": "hose"}, *products, {"title": "band"}]
    assert [ids.tolist() for ids in engine.prepare_products(mixed)][1:-1] == expected


def test_a_graph_is_fed_only_the_inputs_that_it_has_in_the_types_that_it_reads(artifact, tmp_path):
    def change(graph):
        for node in graph.node:
            node.input[:] = [{"input_ids": "ids_64", "token_type_ids": "zeros"}.get(name, name) for name in node.input]
        graph.node.insert(0, onnx.helper.make_node("Cast", ["input_ids"], ["ids_64"], to=onnx.TensorProto.INT64))
        graph.node.insert(1, onnx.helper.make_node("Sub", ["ids_64", "ids_64"], ["zeros"]))
        mask = next(each for each in graph.input if each.name == "attention_mask")
        narrow = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT32, ["pairs", "tokens"])
        kept = [narrow, onnx.ValueInfoProto.FromString(mask.SerializeToString())]
        del graph.input[:]
        graph.input.extend(kept)

    engine = engine_of(altered(artifact, tmp_path, change))
    query, product = engine.prepare_query("usb"), engine.prepare_products([{"title": "red cable"}])[0]
    assert np.isfinite(engine.score_pairs([(query, product)])).all()


def test_an_unknown_input_is_refused_by_name(artifact, tmp_path):
    def change(graph):
        graph.input.append(onnx.helper.make_tensor_value_info("surprise", onnx.TensorProto.INT64, ["n"]))

    with pytest.raises(EngineError, match="surprise"):
        engine_of(altered(artifact, tmp_path, change))


def test_another_output_is_refused_by_name(artifact, tmp_path):
    def change(graph):
        for node in graph.node:
            node.output[:] = ["scores" if name == "logits" else name for name in node.output]
        graph.output[0].name = "scores"

    with pytest.raises(EngineError, match=r"'logits'.*scores"):
        engine_of(altered(artifact, tmp_path, change))


def test_a_file_that_is_no_graph_is_refused_by_name(artifact, tmp_path):
    copy = altered(artifact, tmp_path, lambda _: None)
    path = copy.variant_path("cpu-fp32")
    path.write_bytes(b"not a graph")
    with pytest.raises(EngineError, match=path.name):
        engine_of(copy)


def test_another_model_than_the_golden_pairs_know_is_refused(artifact, tmp_path):
    def change(graph):
        for each in graph.initializer:
            if each.name.endswith("classifier.weight"):
                weight = onnx.numpy_helper.to_array(each)
                each.CopyFrom(onnx.numpy_helper.from_array(weight + 0.5, each.name))

    copy = altered(artifact, tmp_path, change)
    variant = copy.manifest.variant("cpu-fp32")
    with pytest.raises(EngineError, match=r"golden pair .* alone gave"):
        check_golden_pairs(copy, variant, engine_of(copy))


def test_a_golden_pair_without_a_logit_for_the_variant_is_refused(artifact):
    variant = artifact.manifest.variant("cpu-fp32").model_copy(update={"name": "cpu-fp16"})
    manifest = artifact.manifest.model_copy(update={"variants": (variant,)})
    copy = type(artifact)(artifact.folder, manifest, artifact.tokenizer)
    with pytest.raises(EngineError, match="cpu-fp16"):
        check_golden_pairs(copy, variant, engine_of(artifact))


@pytest.mark.parametrize(("precision", "expected"), [("auto", "cpu-int8"), ("int8", "cpu-int8"), ("fp32", "cpu-fp32")])
def test_the_variant_follows_the_precision(artifact, precision, expected):
    assert choose_variant(artifact.manifest, artifact.folder, "cpu", precision).name == expected


def test_auto_takes_fp32_where_there_is_no_int8(artifact):
    manifest = artifact.manifest.model_copy(update={"variants": (artifact.manifest.variant("cpu-fp32"),)})
    assert choose_variant(manifest, artifact.folder, "cpu", "auto").name == "cpu-fp32"


@pytest.mark.parametrize(("device", "precision"), [("cuda", "auto"), ("cpu", "fp16")])
def test_a_variant_that_is_not_there_is_refused_with_those_that_are(artifact, device, precision):
    with pytest.raises(ArtifactError, match="cpu-fp32, cpu-int8"):
        choose_variant(artifact.manifest, artifact.folder, device, precision)


def test_logits_are_the_same_through_an_io_binding(artifact):
    engine = engine_of(artifact)
    pairs = [(engine.prepare_query("usb"), product) for product in engine.prepare_products([{"title": "red"}] * 3)]
    expected = engine.score_pairs(pairs)
    engine._graph._run = run_bound
    assert np.array_equal(engine.score_pairs(pairs), expected)


def test_cuda_without_its_provider_is_refused_clearly(artifact):
    variant = artifact.manifest.variant("cpu-fp32").model_copy(update={"device": "cuda"})
    with pytest.raises(EngineError, match="CUDAExecutionProvider"):
        OnnxEngine(artifact, variant, 0, Metrics())


def test_a_loaded_model_describes_itself(tiny_artifact):
    model = load_model(Settings(model_dir=tiny_artifact, precision="fp32"), Metrics())
    description = model.description()
    assert description["name"] == "tiny"
    assert description["precision"] == "fp32"
    assert description["template"]["max_tokens"] == 32
    assert len(GOLDEN) == len(model.manifest.golden_pairs)


def test_a_loaded_model_knows_from_its_warm_up_what_a_pair_costs(tiny_artifact):
    cost = load_model(Settings(model_dir=tiny_artifact), Metrics()).cost
    assert 0 < cost.ratio < 1000
    assert 0 < cost.pairs_s(1, 16) < cost.micro_batch_s < 5


def test_serving_modules_never_import_torch():
    import service.server  # noqa: F401

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("service", "artifact"):
            assert "torch" not in vars(module), name

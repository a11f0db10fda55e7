"""The engine of split models with real sessions: a score belongs to the pair alone, wherever its state comes from."""

import onnx
import pytest

from artifact import load_artifact
from artifact.product_states import states_version
from artifact.states_file import StatesFile, states_path
from service.engine import Fresh
from service.metrics import Metrics
from service.model import check_golden_pairs, load_model
from service.sessions import EngineError
from service.settings import Settings
from service.split_engine import SplitEngine

from ..split_model import GOLDEN, build_split_artifact
from .split_serving import split_engine, titled, write_states

VARIANTS = pytest.mark.parametrize("name", ["cpu-int8", "cpu-fp32"])
TITLES = (
    *("usb", "red cable for laptop", "", "garden hose " * 9, "charger", "watch band with case"),
    *(f"{i} phone case" + " mouse" * (i % 9) for i in range(40)),
)


def states_file(folder, artifact_folder, name="cpu-int8"):
    artifact = load_artifact(artifact_folder)
    variant = artifact.manifest.variant(name)
    version = states_version(artifact.manifest, variant)
    return StatesFile.open(states_path(folder, version), version, variant.states)


def score(engine, query, products):
    return engine.score_pairs([(query, product) for product in products])


def count(metrics, source):
    return metrics.registry.get_sample_value("shelfscore_product_states_total", {"source": source})


@VARIANTS
def test_a_pair_has_one_logit_fresh_cached_in_any_batch_and_from_the_file(split_artifact, tmp_path, name):
    engine = split_engine(split_artifact, name)
    query = engine.prepare_query("red usb cable")
    fresh = score(engine, query, engine.prepare_products(titled(*TITLES)))
    cached = score(engine, query, engine.prepare_products(titled(*TITLES)))
    alone = [score(engine, query, engine.prepare_products(titled(title)))[0] for title in TITLES]
    by_itself = split_engine(split_artifact, name, cache_bytes=0)
    encoded_alone = [score(by_itself, query, by_itself.prepare_products(titled(title)))[0] for title in TITLES]
    metrics = Metrics()
    reading = split_engine(split_artifact, name, metrics=metrics)
    write_states(tmp_path, split_artifact, titled(*TITLES), name)
    reading.read_from(states_file(tmp_path, split_artifact, name))
    from_file = score(reading, query, reading.prepare_products(titled(*TITLES)))
    assert [count(metrics, source) for source in ("memory", "file", "fresh")] == [0, len(TITLES), 0]
    for other in (cached, alone, encoded_alone, from_file):
        assert other == pytest.approx(fresh, abs=1e-4)
    assert max(fresh) - min(fresh) > 1
    other_query = score(engine, engine.prepare_query("garden hose"), engine.prepare_products(titled(*TITLES)))
    assert abs(other_query - fresh).max() > 0.1


def test_pairs_of_several_queries_are_scored_each_with_its_own(split_artifact):
    engine = split_engine(split_artifact)
    queries = [engine.prepare_query(text) for text in ("usb", "red shoe", "laptop case")]
    products = engine.prepare_products(titled("usb cable", "garden hose", "black laptop case"))
    pairs = [(query, product) for product in products for query in queries]
    alone = [engine.score_pairs([pair])[0] for pair in pairs]
    assert engine.score_pairs(pairs) == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("change", [{"title": "usb cable1"}, {"title": "usb cabl"}, {"brand": "acmf"}, {"brand": None}])
def test_one_changed_character_misses_the_cache(split_artifact, change):
    engine = split_engine(split_artifact)
    product = {"title": "usb cable", "brand": "acme"}
    engine.prepare_products([product])
    assert engine.outlook("usb", [product, {**product, "color": "red"}]).unknown == []
    assert engine.outlook("usb", [product, {**product, **change}]).unknown == [1]
    query = engine.prepare_query("usb acme")
    changed = score(engine, query, engine.prepare_products([{**product, **change}]))
    plain = split_engine(split_artifact, cache_bytes=0)
    assert changed == pytest.approx(score(plain, query, plain.prepare_products([{**product, **change}])), abs=1e-4)


def test_the_outlook_has_what_is_at_hand_and_says_what_has_to_be_encoded(split_artifact):
    engine = split_engine(split_artifact)
    engine.prepare_products(titled("usb cable", "red phone case"))
    outlook = engine.outlook("usb charger", titled("usb cable", "wireless mouse", "red phone case", "watch"))
    assert outlook.unknown == [1, 3]
    assert [outlook.unknown_of(n) for n in range(5)] == [0, 0, 1, 1, 2]
    assert outlook.states[0] is engine.prepare_products(titled("usb cable"))[0]
    assert outlook.fresh_share == 1.0
    assert outlook.query_tokens > 2
    assert outlook.fresh_tokens > 2


def test_the_share_that_has_to_be_encoded_is_learned_from_what_the_file_had(split_artifact, tmp_path):
    engine = split_engine(split_artifact)
    write_states(tmp_path, split_artifact, titled(*(f"case {i}" for i in range(200))))
    engine.read_from(states_file(tmp_path, split_artifact))
    there, elsewhere = (titled(*(f"{kind} {i}" for i in range(100, 104))) for kind in ("case", "mouse"))
    assert engine.outlook("usb", there).fresh_share == 0.0
    engine.recall_products(titled(*(f"mouse {i}" for i in range(600))))
    # Half by what was seen lately, half by what is asked for.
    assert engine.outlook("usb", there).fresh_share == pytest.approx(0.45, abs=0.03)
    assert engine.outlook("usb", elsewhere).fresh_share == pytest.approx(0.95, abs=0.03)


def test_what_is_recalled_from_the_file_is_at_hand_the_next_time(split_artifact, tmp_path):
    engine = split_engine(split_artifact)
    write_states(tmp_path, split_artifact, titled("usb", "case"))
    engine.read_from(states_file(tmp_path, split_artifact))
    found = engine.recall_products(titled("usb", "mouse"))
    assert [isinstance(each, Fresh) for each in found] == [False, True]
    assert engine.outlook("q", titled("usb", "mouse")).unknown == [1]


def test_of_two_encodings_of_one_product_the_first_stays(split_artifact):
    engine = split_engine(split_artifact)
    first, second = engine.recall_products(titled("usb")), engine.recall_products(titled("usb"))
    (stored,) = engine.encode_products(first)
    assert engine.encode_products(second)[0] is stored
    assert engine.prepare_products(titled("usb"))[0] is stored


def test_a_damaged_record_is_encoded_afresh_and_counted(split_artifact, tmp_path, caplog):
    products = titled("usb cable", "red phone case", "garden hose")
    path = write_states(tmp_path, split_artifact, products)
    expected = [state.tokens.tolist() for state in split_engine(split_artifact).prepare_products(products)]
    contents = bytearray(path.read_bytes())
    contents[contents.index(split_engine(split_artifact).prepare_products(products)[1].pooled.tobytes())] ^= 1
    path.write_bytes(contents)
    metrics = Metrics()
    engine = split_engine(split_artifact, metrics=metrics)
    engine.read_from(states_file(tmp_path, split_artifact))
    assert [state.tokens.tolist() for state in engine.prepare_products(products)] == expected
    assert [count(metrics, source) for source in ("file", "fresh")] == [2, 1]
    assert metrics.registry.get_sample_value("shelfscore_states_file_corrupted_records_total") == 1
    assert "damaged records in a states file are skipped" in caplog.text


def test_forgetting_empties_the_memory_and_leaves_the_file(split_artifact, tmp_path):
    engine = split_engine(split_artifact)
    write_states(tmp_path, split_artifact, titled("usb"))
    engine.read_from(states_file(tmp_path, split_artifact))
    engine.prepare_products(titled("usb", "case"))
    assert engine.kept().products == 2
    assert engine.kept().bytes > 500
    engine.forget()
    assert engine.kept()[:2] == (0, 0)
    assert [isinstance(each, Fresh) for each in engine.recall_products(titled("usb", "case"))] == [False, True]


@VARIANTS
def test_the_golden_pairs_score_as_they_must(split_artifact, name):
    artifact = load_artifact(split_artifact)
    check_golden_pairs(artifact, artifact.manifest.variant(name), split_engine(split_artifact, name))


def test_a_loaded_model_knows_what_its_stages_cost_and_keeps_nothing_of_its_warm_up(split_artifact):
    model = load_model(Settings(model_dir=split_artifact), Metrics())
    assert model.engine.kept()[:2] == (0, 0)
    assert 0 < model.cost.encode_s(1, 8) < 1
    assert 0 < model.cost.query_s(4) < 1
    assert len(GOLDEN) == len(model.manifest.golden_pairs)


def altered(folder, tmp_path, change, part="cpu-int8.onnx"):
    """An engine over the artifact with one of its graphs changed, behind the same manifest."""
    for each in folder.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    model = onnx.load(str(tmp_path / part))
    change(model.graph)
    onnx.save(model, str(tmp_path / part))
    artifact = load_artifact(folder)
    moved = type(artifact)(tmp_path, artifact.manifest, artifact.tokenizer)
    return SplitEngine(moved, artifact.manifest.variant("cpu-int8"), 0, 64, Metrics())


def test_an_interaction_with_an_input_that_nothing_gives_is_refused_by_name(split_artifact, tmp_path):
    def change(graph):
        graph.input.append(onnx.helper.make_tensor_value_info("surprise", onnx.TensorProto.FLOAT, ["n"]))

    with pytest.raises(EngineError, match="surprise"):
        altered(split_artifact, tmp_path, change)


def test_states_in_another_precision_than_the_manifest_says_are_refused(split_artifact, tmp_path):
    fp32 = onnx.load(str(split_artifact / "cpu-fp32.onnx"))
    with pytest.raises(EngineError, match=r"tokens \(tensor\(float\)\)"):
        altered(split_artifact, tmp_path, lambda graph: graph.CopyFrom(fp32.graph))


def test_a_product_encoder_without_its_scales_is_refused(split_artifact, tmp_path):
    def change(graph):
        kept = [each for each in graph.output if each.name != "scales"]
        del graph.output[:]
        graph.output.extend(kept)

    with pytest.raises(EngineError, match="'scales'"):
        altered(split_artifact, tmp_path, change, "cpu-int8-product.onnx")


@VARIANTS
def test_queries_may_go_through_the_encoder_of_products(split_artifact, tmp_path, name):
    build_split_artifact(tmp_path / "shared", tmp_path / "scratch", shared=True)
    scores = []
    for folder in (split_artifact, tmp_path / "shared"):
        engine = split_engine(folder, name)
        query = engine.prepare_query("red usb cable")
        scores.append(score(engine, query, engine.prepare_products(titled(*TITLES))))
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_shared_encoder_has_to_give_what_the_query_s_graph_reads(split_artifact, tmp_path):
    build_split_artifact(tmp_path / "shared", tmp_path / "scratch", shared=True)
    artifact = load_artifact(tmp_path / "shared")
    variant = artifact.manifest.variant("cpu-int8")
    apart = load_artifact(split_artifact).manifest.variant("cpu-int8").product_encoder
    mixed = variant.model_copy(update={"product_encoder": apart})
    (tmp_path / "shared" / apart.file).write_bytes((split_artifact / apart.file).read_bytes())
    with pytest.raises(EngineError, match="expected an output 'states'"):
        SplitEngine(artifact, mixed, 0, 64, Metrics())


def test_states_in_memory_stay_as_they_were_checked_whatever_becomes_of_their_file(split_artifact, tmp_path):
    products = titled(*TITLES)
    path = write_states(tmp_path, split_artifact, products)
    engine = split_engine(split_artifact)
    engine.read_from(states_file(tmp_path, split_artifact))
    query = engine.prepare_query("red usb cable")
    before = score(engine, query, engine.prepare_products(products))
    with path.open("r+b") as file:
        file.truncate(5000)
    assert score(engine, query, engine.prepare_products(products)) == pytest.approx(before, abs=0)


def test_a_request_that_is_never_taken_on_corrects_what_is_expected_of_the_file(split_artifact, tmp_path):
    products = titled(*TITLES)
    write_states(tmp_path, split_artifact, products)
    engine = split_engine(split_artifact, cache_bytes=0)
    engine.read_from(states_file(tmp_path, split_artifact))
    engine.prepare_products(titled(*(f"new {i}" for i in range(300))))
    shares = [engine.outlook("usb", products).fresh_share for _ in range(500)]
    assert shares[0] > 0.25
    assert shares[-1] < 0.05
    assert engine.outlook("usb", titled("new", "newer")).fresh_share > 0.45


def test_a_folder_that_cannot_be_searched_leaves_the_model_without_a_file(split_artifact, tmp_path, caplog):
    (tmp_path / "file").write_bytes(b"")  # in place of a folder: an error of the system, for root too
    metrics = Metrics()
    settings = Settings(model_dir=split_artifact, states=tmp_path / "file")
    assert load_model(settings, metrics).states_file is None
    assert "refused" in caplog.text
    refused = metrics.registry.get_sample_value("shelfscore_refused_states_files_total", {"reason": "unreadable"})
    assert refused == 1


def test_a_cache_too_small_for_a_product_is_told(split_artifact, caplog):
    load_model(Settings(model_dir=split_artifact, state_cache_bytes=1000), Metrics())
    assert "too small for a single product" in caplog.text
    caplog.clear()
    load_model(Settings(model_dir=split_artifact, state_cache_bytes=100_000), Metrics())
    assert "too small" not in caplog.text

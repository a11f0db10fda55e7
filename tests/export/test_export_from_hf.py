"""Models from elsewhere: what is taken from them, what the command line says of them, and what is refused."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from artifact import PairFormat, load_artifact
from export import ExportError, HubExport, export_from_hf
from export.__main__ import main
from export.checkpoint import load_checkpoint
from export.model_tokenizer import read_tokenizer
from export.pairs_file import read_pairs
from export.template_file import read_template, template_of
from export.verification import Options, verify
from export.weight_files import read_weights
from service.metrics import Metrics
from service.onnx_engine import OnnxEngine

from .families import CASES, write_pairs
from .tiny import VOCABULARY, silent


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CASES["roberta"].write(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", 64)


@pytest.fixture
def folder(roberta: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(roberta, tmp_path / "checkpoint"))


def export(folder: Path, out: Path, pairs: Path, **changes: object) -> None:
    plan = HubExport(str(folder), "tiny", "2026-01-01", calibration=pairs, attention="fused")
    export_from_hf(replace(plan, **changes), out, silent)


@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_the_same_checkpoint_gives_the_same_artifact(family: str, tmp_path: Path, pairs: Path) -> None:
    folder = CASES[family].write(tmp_path / "checkpoint")
    found = []
    for name in ("a", "b"):
        export(folder, tmp_path / name, pairs)
        found.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    names = [name for name in found[0] if name.endswith((".onnx", "tokenizer.json"))]
    assert len(names) == 3
    assert all(found[0][name] == found[1][name] for name in names)


def test_the_service_scores_with_a_model_that_reads_no_token_types(roberta: Path, tmp_path: Path, pairs: Path) -> None:
    export(roberta, tmp_path / "a", pairs)
    artifact = load_artifact(tmp_path / "a")
    for variant in artifact.manifest.variants:
        engine = OnnxEngine(artifact, variant, 0, Metrics())
        golden = artifact.manifest.golden_pairs[:4]
        queries = [engine.prepare_query(pair.query) for pair in golden]
        products = engine.prepare_products([pair.product for pair in golden])
        found = engine.score_pairs(list(zip(queries, products, strict=True)))
        expected = [pair.logits[variant.name] for pair in golden]
        np.testing.assert_allclose(found, expected, atol=variant.golden_tolerance)


def test_the_command_line_writes_an_artifact_with_the_fields_it_is_told(
    roberta: Path, tmp_path: Path, pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["from-hf", str(roberta), str(tmp_path / "a"), "--name", "yours", "--calibration", str(pairs)]
    assert main([*command, "--fields", "title:40,brand:8", "--max-query-tokens", "12", "--max-tokens", "64"]) == 0
    said = capsys.readouterr().err
    assert "roberta: reads <s> query </s> </s> product </s>, token types not told" in said
    manifest = load_artifact(tmp_path / "a").manifest
    assert [(field.name, field.max_tokens) for field in manifest.template.fields] == [("title", 40), ("brand", 8)]
    assert (manifest.template.max_query_tokens, manifest.template.max_tokens) == (12, 64)
    assert manifest.template.pair_format.pad == "<pad>"


def test_gains_of_an_export_are_those_that_verification_reads(tmp_path: Path, pairs: Path) -> None:
    folder = CASES["bert"].write(tmp_path / "checkpoint", outputs=2)
    export(folder, tmp_path / "a", pairs, gains=(1.0, 0.0))
    checks, _ = verify(tmp_path / "a", silent, Options(pairs=40, checkpoint=folder, latency_budget_s=0))
    assert checks.passed, [str(check) for check in checks.done]


def test_words_of_neighbouring_fields_stay_apart(roberta: Path, tmp_path: Path, pairs: Path) -> None:
    export(roberta, tmp_path / "a", pairs, fields="title:40,brand:8", variants=("cpu-fp32",))
    tokenizer = load_artifact(tmp_path / "a").tokenizer
    apart, joined = tokenizer.encode_products([{"title": "desk lamp", "brand": "water"}, {"title": "desk lamp water"}])
    assert apart.tolist() == joined.tolist()


def test_the_graph_for_cuda_is_refused_to_families_that_it_is_not_written_for(
    roberta: Path, tmp_path: Path, pairs: Path
) -> None:
    with pytest.raises(ExportError, match=r"cuda-fp16 is written for BERT .* not for this roberta"):
        export(roberta, tmp_path / "a", pairs, variants=("cuda-fp16",))
    assert not (tmp_path / "a").exists()


def test_the_command_line_refuses_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["from-hf", str(tmp_path / "empty"), str(tmp_path / "a"), "--name", "x"]) == 1
    assert "config.json: expected a Hugging Face checkpoint folder" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def break_config(**changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_head(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = {name: value for name, value in load_file(path).items() if not name.startswith("classifier")}
    save_file(weights, path)


def drop_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def damage_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def other_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    CASES["bert"].tokenizer().save_pretrained(folder)


def pad_elsewhere(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "<mask>"}))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (break_config(model_type="t5"), "expected model_type out of bert, .*, found 't5'"),
        (break_config(model_type=["bert"]), "expected model_type out of"),
        (break_config(architectures=["RobertaForCausalLM"]), "found RobertaForCausalLM: it writes text"),
        (
            break_config(auto_map={"AutoModelForSequenceClassification": "own.Model"}),
            "brings code of its own, own.Model",
        ),
        (break_config(pad_token_id=None), "expected the configuration of a roberta model"),
        (break_config(hidden_act="silu"), "expected hidden_act 'gelu' or .*, found 'silu'"),
        (break_config(is_decoder=True), "expected is_decoder False"),
        (break_config(problem_type="regression", id2label={"0": "a", "1": "b"}), "problem_type 'regression'"),
        (break_config(num_attention_heads=5), "expected the configuration of a roberta model"),
        (break_config(hidden_size=200_000, num_attention_heads=4), "one ONNX file holds less than 2 GB"),
        (cut_weights, "damaged or cut short"),
        (drop_head, "expected a classifier head, found a bare encoder"),
        (drop_tokenizer, "expected tokenizer.json, or files that transformers converts|embeddings: they do not belong"),
        (damage_tokenizer, "expected tokenizer.json"),
        (other_tokenizer, "they do not belong together"),
        (pad_elsewhere, "pads with token .*, the model with token 1"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    folder: Path, tmp_path: Path, pairs: Path, damage: Callable[[Path], None], problem: str
) -> None:
    damage(folder)
    with pytest.raises(ExportError, match=problem):
        export(folder, tmp_path / "a", pairs)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def shard(folder: Path, name: str = "first.safetensors") -> Path:
    """Cuts the weights in two, the first half under `name`; returns the index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    half = len(weights) // 2
    parts = {name: list(weights)[:half], "second.safetensors": list(weights)[half:]}
    for file, names in parts.items():
        save_file({each: weights[each] for each in names}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {each: file for file, names in parts.items() for each in names}}))
    return index


def test_shards_are_read_as_one_file(folder: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    path = shard(folder)
    found_path, found = read_weights(folder)
    assert found_path == path
    assert found.keys() == whole.keys()


@pytest.mark.parametrize("name", ["../first.safetensors", "/etc/first", "sub/first", "..\\first", "..", ""])
def test_an_index_that_leaves_its_folder_is_refused(folder: Path, name: str) -> None:
    index = shard(folder)
    index.write_text(index.read_text().replace("first.safetensors", name.replace("\\", "\\\\")))
    with pytest.raises(ExportError, match="leaves the folder"):
        read_weights(folder)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "weight_map"),
        ("[]", "weight_map"),
        ("{}", "weight_map"),
        ('{"weight_map": {"a": "b"}}', "expected the shard"),
    ],
)
def test_a_damaged_index_is_refused(folder: Path, text: str, problem: str) -> None:
    shard(folder).write_text(text)
    with pytest.raises(ExportError, match=problem):
        read_weights(folder)


def test_a_pickle_is_read_without_running_it(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert read_weights(folder)[1].keys() == weights.keys()
    torch.save({"a": Path("x")}, folder / "pytorch_model.bin")
    with pytest.raises(ExportError, match=r"pytorch_model\.bin: expected a pickle that holds tensors and nothing else"):
        read_weights(folder)


def test_a_pooler_that_nothing_reads_is_left_out(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "roberta.pooler.dense.bias": torch.zeros(32)}, folder / "model.safetensors")
    assert load_checkpoint(folder, silent).weights().keys() >= {"bert.pooler.dense.weight", "classifier.weight"}


def test_a_slow_tokenizers_files_are_converted(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    found = read_tokenizer(tmp_path, tmp_path / "new.json", len(VOCABULARY), 0)
    assert found.pair_format == PairFormat()
    assert found.token_types
    assert json.loads((tmp_path / "new.json").read_text())["model"]["type"] == "WordPiece"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: expected JSON"),
        ("[]", 'line 2: expected {"query": text'),
        ('{"query": 1, "product": {}}', 'line 2: expected {"query": text'),
        ('{"query": "a", "product": "b"}', "line 2: expected `product`, an object"),
        ('{"query": "a", "product": {"price": "b"}}', "line 2: expected fields out of title, .*, found 'price'"),
        ('{"query": "a", "product": {"title": 3}}', "line 2: expected text or null in title, found 3"),
    ],
)
def test_a_pair_that_cannot_be_read_is_named_by_its_line(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"query": "a", "product": {"title": "b", "brand": null}}\n' + line + "\n")
    with pytest.raises(ExportError, match=problem):
        read_pairs(path)


def test_too_few_pairs_of_the_users_are_refused(roberta: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="at least 64 calibration pairs"):
        export(roberta, tmp_path / "a", write_pairs(tmp_path / "pairs.jsonl", 63))
    with pytest.raises(ExportError, match="expected pairs to calibrate on: No such file"):
        export(roberta, tmp_path / "a", tmp_path / "absent")


def test_the_title_alone_takes_what_there_is_room_for() -> None:
    template = template_of(PairFormat(), 512)
    assert [(field.name, field.max_tokens) for field in template.fields] == [("title", 124)]
    assert (template.max_query_tokens, template.max_tokens) == (32, 128)
    assert template_of(PairFormat(), 40).max_tokens == 40


@pytest.mark.parametrize("name", ["template.json", "template.toml"])
def test_a_template_file_is_joined_with_the_models_pair_format(tmp_path: Path, name: str) -> None:
    contents = {
        "template.json": '{"fields": [{"name": "title", "max_tokens": 9}], "max_query_tokens": 5, "max_tokens": 20}',
        "template.toml": 'max_query_tokens = 5\nmax_tokens = 20\n[[fields]]\nname = "title"\nmax_tokens = 9\n',
    }
    (tmp_path / name).write_text(contents[name])
    template = read_template(tmp_path / name, PairFormat(before=("<s>",)))
    assert (template.fields[0].name, template.max_tokens, template.pair_format.before) == ("title", 20, ("<s>",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "expected a template in JSON or TOML"),
        ("[]", "an object with `fields`"),
        ('{"pair_format": {}}', "leave it out"),
        ('{"fields": [{"name": "price", "max_tokens": 3}]}', r"at fields\.0\.name"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "template.json").write_text(text)
    with pytest.raises(ExportError, match=problem):
        read_template(tmp_path / "template.json", PairFormat())


def test_fields_and_limits_that_cannot_be_are_refused(roberta: Path, tmp_path: Path, pairs: Path) -> None:
    with pytest.raises(ExportError, match=r"the template: at fields\.0\.name"):
        template_of(PairFormat(), 512, "price:3")
    with pytest.raises(ExportError, match="leave no room"):
        template_of(PairFormat(), 512, max_tokens=4)
    with pytest.raises(ExportError, match="leave the options"):
        export(roberta, tmp_path / "a", pairs, template=tmp_path / "t.json", fields="title")

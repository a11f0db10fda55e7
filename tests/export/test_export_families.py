"""Every family of cross-encoders, from a folder as transformers writes it to an artifact as the service reads it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from artifact import load_artifact
from export import HubExport, export_from_hf
from export.generator import made_up_pairs
from export.golden import GOLDEN_PAIRS
from export.runtime import EncodedPairs, logits_of, open_session

from .families import CASES, write_pairs
from .tiny import silent

PAIRS = [(query, str(product["title"])) for query, product in made_up_pairs(12, seed=3)]


@pytest.fixture(scope="module", params=CASES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CASES[family].write(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("artifacts")
    plan = HubExport(
        str(folder), "tiny", "2026-01-01", max_query_tokens=45, calibration=write_pairs(parent / "pairs.jsonl", 100)
    )
    export_from_hf(plan, parent / "tiny", silent)
    return parent / "tiny"


def truth(folder: Path, max_tokens: int, **options: object) -> np.ndarray:
    """What transformers' own tokenizer and model give, shape (n,)."""
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    queries, texts = zip(*PAIRS, strict=True)
    encoded = tokenizer(
        list(queries), list(texts), padding=True, truncation="only_second", max_length=max_tokens, return_tensors="pt"
    )
    with torch.inference_mode():
        return model(**encoded).logits[:, 0].numpy()


def found(artifact_folder: Path, variant: str) -> np.ndarray:
    artifact = load_artifact(artifact_folder)
    run = logits_of(open_session(artifact.variant_path(variant).read_bytes()))
    return EncodedPairs(artifact.tokenizer, [(query, {"title": text}) for query, text in PAIRS]).logits(run)


def test_token_ids_are_those_of_transformers(folder: Path, exported: Path, family: str) -> None:
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = load_artifact(exported).tokenizer
    limit = ours.template.max_tokens
    for query, text in PAIRS:
        expected = theirs(query, text, truncation="only_second", max_length=limit)
        batch = ours.encode_pairs([(query, {"title": text})])
        assert batch.input_ids[0].tolist() == expected["input_ids"]
        if CASES[family].token_types:
            assert batch.token_type_ids[0].tolist() == expected["token_type_ids"]
    assert ours.template.pair_format.pad == theirs.pad_token


def test_only_models_that_are_told_token_types_read_them(exported: Path, family: str) -> None:
    for variant in load_artifact(exported).manifest.variants:
        inputs = {each.name for each in open_session((exported / variant.file).read_bytes()).get_inputs()}
        types = {"token_type_ids"} if CASES[family].token_types else set()
        assert inputs == {"input_ids", "attention_mask"} | types


def test_fp32_gives_the_logits_that_transformers_gives(folder: Path, exported: Path) -> None:
    expected = truth(folder, load_artifact(exported).manifest.template.max_tokens)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found(exported, "cpu-fp32"), expected, atol=1e-4)


def test_int8_stays_near_fp32(exported: Path) -> None:
    fp32, int8 = (found(exported, name) for name in ("cpu-fp32", "cpu-int8"))
    assert np.sqrt(np.mean((fp32 - int8) ** 2)) < 0.15 * fp32.std()


@pytest.mark.parametrize("variant", ["cpu-fp32", "cpu-int8"])
def test_a_logit_does_not_depend_on_its_batch_mates(exported: Path, variant: str) -> None:
    artifact = load_artifact(exported)
    run = logits_of(open_session(artifact.variant_path(variant).read_bytes()))
    pairs = EncodedPairs(artifact.tokenizer, [*GOLDEN_PAIRS, *made_up_pairs(100, seed=13)])
    alone = pairs.logits(run, [[row] for row in range(len(pairs))])
    np.testing.assert_allclose(pairs.logits(run, [range(len(pairs))]), alone, atol=1e-4)
    np.testing.assert_allclose(pairs.logits(run), alone, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "changes", "inputs"),
    [
        ("bert", {"hidden_act": "relu"}, 3),
        ("bert", {"hidden_act": "gelu_new"}, 3),
        ("bert", {"type_vocab_size": 1}, 2),
        ("distilbert", {"activation": "relu"}, 2),
        ("electra", {"embedding_size": 32, "hidden_act": "relu"}, 3),
        ("modernbert", {"classifier_pooling": "cls"}, 2),
        ("deberta-v2", {"type_vocab_size": 2, "position_biased_input": True, "conv_kernel_size": 3}, 3),
    ],
)
def test_what_varies_within_a_family_is_followed(
    family: str, changes: dict[str, object], inputs: int, tmp_path: Path
) -> None:
    folder = CASES[family].write(tmp_path / "checkpoint", **changes)
    plan = HubExport(
        str(folder), "tiny", "2026-01-01", max_query_tokens=45, calibration=write_pairs(tmp_path / "pairs.jsonl", 64)
    )
    manifest = export_from_hf(plan, tmp_path / "a", silent)
    names = ["input_ids", "attention_mask", "token_type_ids"][:inputs]
    expected = truth(folder, manifest.template.max_tokens, model_input_names=names)
    np.testing.assert_allclose(found(tmp_path / "a", "cpu-fp32"), expected, atol=1e-4)
    session = open_session((tmp_path / "a" / "cpu-int8.onnx").read_bytes())
    assert len(session.get_inputs()) == inputs

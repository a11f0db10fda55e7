"""A small tokenizer and an artifact folder whose variant is any bytes: artifact looks there for external data alone."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from artifact import InputTemplate, TemplateField, write_artifact
from artifact.loading import sha256_of

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = ["usb", "charger", "red", "acme", "lamp", "a", "b", "c", "##a", "##b", "##c", "[", "]", "sep", "|"]
IDS = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WordPiece tokenizer over `IDS`, with special tokens that text could spell."""
    tokenizer = Tokenizer(models.WordPiece(dict(IDS), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def template() -> InputTemplate:
    """Title of at most four tokens, brand of at most two unless it stands in the title."""
    return InputTemplate(
        fields=(
            TemplateField(name="title", max_tokens=4),
            TemplateField(name="brand", max_tokens=2, omit_if_in="title"),
        ),
        max_query_tokens=3,
        max_tokens=10,
    )


@pytest.fixture
def contents(template: InputTemplate, tokenizer_path: Path, tmp_path: Path) -> dict[str, Any]:
    """A manifest's fields without the version."""
    model = tmp_path / "source.onnx"
    model.write_bytes(b"weights")
    return {
        "name": "tiny",
        "architecture": "cross-encoder",
        "layers": 2,
        "hidden_size": 32,
        "template": template.model_dump(),
        "tokenizer": {"sha256": sha256_of(tokenizer_path), "vocab_size": len(IDS)},
        "variants": [
            {
                "name": "cpu-fp32",
                "file": "cpu-fp32.onnx",
                "device": "cpu",
                "precision": "fp32",
                "size_bytes": 7,
                "sha256": sha256_of(model),
                "golden_tolerance": 1e-3,
            }
        ],
        "calibration": {"slope": 2.0, "intercept": -1.0},
        "lineage": {
            "teacher": "t",
            "student_init": "s",
            "loss": "margin",
            "seed": 1,
            "commit": None,
            "created": "2026-01-31",
            "data_sets": [],
            "durations_s": {},
        },
        "evaluation": [],
        "golden_pairs": [{"query": "usb", "product": {"title": "charger"}, "logits": {"cpu-fp32": 0.5}}],
    }


@pytest.fixture
def folder(contents: dict[str, Any], tokenizer_path: Path, tmp_path: Path) -> Path:
    """A valid artifact folder."""
    path = tmp_path / "artifact"
    files = {"cpu-fp32.onnx": tmp_path / "source.onnx", "tokenizer.json": tokenizer_path}
    write_artifact(path, contents, files, "# card\n")
    return path

"""A real artifact small enough to build in seconds: a BERT of 2 layers, 32 wide, in fp32 and static int8."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification

from artifact import (
    Calibration,
    GoldenPair,
    InputTemplate,
    Lineage,
    Manifest,
    PairTokenizer,
    TemplateField,
    TokenizerFile,
    Variant,
    write_artifact,
)
from artifact.loading import sha256_of
from service.sessions import open_session

WORDS = (
    *("usb", "charger", "cable", "laptop", "red", "blue", "black", "phone", "case"),
    *("garden", "hose", "watch", "band", "shoe", "for", "with", "wireless", "mouse"),
)
TEMPLATE = InputTemplate(
    fields=(
        TemplateField(name="title", max_tokens=20),
        TemplateField(name="brand", max_tokens=4, omit_if_in="title"),
    ),
    max_query_tokens=10,
    max_tokens=32,
)
GOLDEN = (
    ("usb charger", {"title": "wireless usb charger for phone", "brand": "acme"}),
    ("red shoe", {"title": "garden hose"}),
    ("laptop", {"title": "black laptop case with red cable and mouse and watch band"}),
)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TOLERANCE = {"fp32": 1e-4, "int8": 0.1}


def build_tiny_artifact(folder: Path, scratch: Path, *, name: str = "tiny", seed: int = 0) -> Manifest:
    """Writes the artifact to `folder`; intermediate files go to `scratch`. Another seed gives other scores."""
    tokenizer_path = scratch / "tokenizer.json"
    vocab_size = _write_tokenizer(tokenizer_path)
    tokenizer = PairTokenizer(tokenizer_path, TEMPLATE)
    fp32, int8 = scratch / "model-fp32.onnx", scratch / "model-int8.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _export(_model(vocab_size, seed), tokenizer, fp32)
        _quantise(fp32, int8, tokenizer)
    files = {"fp32": fp32, "int8": int8}
    logits = {precision: _golden_logits(path, tokenizer) for precision, path in files.items()}
    contents = {
        "name": name,
        "architecture": "cross-encoder",
        "layers": 2,
        "hidden_size": 32,
        "template": TEMPLATE,
        "tokenizer": TokenizerFile(sha256=sha256_of(tokenizer_path), vocab_size=vocab_size),
        "variants": tuple(
            Variant(
                name=f"cpu-{precision}",
                file=path.name,
                device="cpu",
                precision=precision,
                size_bytes=path.stat().st_size,
                sha256=sha256_of(path),
                golden_tolerance=TOLERANCE[precision],
            )
            for precision, path in files.items()
        ),
        "calibration": Calibration(slope=2.0, intercept=-0.5 + seed),
        "lineage": Lineage(
            teacher="none",
            student_init="random",
            loss="none",
            seed=seed,
            commit=None,
            created="2026-01-01",
            data_sets=(),
            durations_s={},
        ),
        "evaluation": (),
        "golden_pairs": tuple(
            GoldenPair(query=query, product=product, logits={f"cpu-{p}": logits[p][i] for p in files})
            for i, (query, product) in enumerate(GOLDEN)
        ),
    }
    parts = {path.name: path for path in (tokenizer_path, fp32, int8)}
    return write_artifact(folder, contents, parts, "# Tiny\n\nRandom weights, for tests.\n")


def _write_tokenizer(path: Path) -> int:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *WORDS]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.save(str(path))
    return len(vocabulary)


def _model(vocab_size: int, seed: int) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=1,
        # Random weights this large tell products apart by more than rounding does.
        initializer_range=0.3,
    )
    return BertForSequenceClassification._from_config(config, attn_implementation="eager").eval()


def _export(model: BertForSequenceClassification, tokenizer: PairTokenizer, path: Path) -> None:
    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.model(**dict(zip(INPUTS, inputs, strict=True))).logits

    feeds = tokenizer.encode_pairs(GOLDEN).feeds()
    torch.onnx.export(
        Logits(),
        tuple(torch.from_numpy(feeds[name]) for name in INPUTS),
        str(path),
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_axes={**{name: {0: "pairs", 1: "tokens"} for name in INPUTS}, "logits": {0: "pairs"}},
        opset_version=17,
        dynamo=False,
    )


def _quantise(fp32: Path, int8: Path, tokenizer: PairTokenizer) -> None:
    class Calibrating(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter([tokenizer.encode_pairs([pair]).feeds() for pair in GOLDEN])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    graph = onnx.load(str(fp32)).graph
    weights = {each.name for each in graph.initializer}
    quantize_static(
        str(fp32),
        str(int8),
        Calibrating(),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=[n.name for n in graph.node if n.op_type == "MatMul" and n.input[1] in weights],
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
    )


def _golden_logits(path: Path, tokenizer: PairTokenizer) -> list[float]:
    session = open_session(path, "cpu")
    return [float(session.run(["logits"], tokenizer.encode_pairs([pair]).feeds())[0].item()) for pair in GOLDEN]

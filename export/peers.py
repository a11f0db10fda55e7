"""Writes, from the same checkpoint, the folder that other servers' ONNX rerankers read: for side-by-side benchmarks.

What it holds is what the field's standard exporter makes: the model as transformers traces it, and ONNX Runtime's
dynamic int8 of it. Nothing of ours is in there, so that a comparison is between servers and graphs, not weights.
"""

import json
import shutil
import uuid
import warnings
from pathlib import Path

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from artifact import PairTokenizer

from .bert import INPUTS, OUTPUT
from .checkpoint import TOKENIZER_FILE, Checkpoint, load_checkpoint
from .compile import Say
from .errors import ExportError
from .golden import GOLDEN_PAIRS
from .parity import check_against_torch
from .plain import DEFAULT_TEMPLATE
from .progress import Progress
from .runtime import EncodedPairs, logits_of, open_session

FLOAT_FILE = "model.onnx"
QUANTISED_FILE = "model_quantized.onnx"
TRACED_OPSET = 18
TOKENIZER_CONFIG = {
    "tokenizer_class": "BertTokenizerFast",
    "do_lower_case": True,
    "model_max_length": 512,
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}


def write_peer(checkpoint: Path, out: Path, say: Say | None = None) -> None:
    """Writes config.json, tokenizer.json, tokenizer_config.json, model.onnx and model_quantized.onnx to a new folder.

    Args:
        checkpoint: as `load_checkpoint` reads it; a missing head is seeded as it is for our own export.
        out: must not exist yet, or be empty.

    Raises:
        ExportError: the checkpoint is refused, or `out` holds something.
    """
    say = say or Progress()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out}: expected a folder that does not exist yet, or an empty one")
    loaded = load_checkpoint(checkpoint, say)
    if loaded.family.model_type != "bert" or loaded.outputs:
        raise ExportError(f"{checkpoint}: expected a BERT model with one output: other servers read it alike")
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    new = out.parent / f".{out.name}.{uuid.uuid4().hex}"
    new.mkdir()
    try:
        shutil.copyfile(loaded.tokenizer_path, new / TOKENIZER_FILE)
        tokenizer_config = {**TOKENIZER_CONFIG, "model_max_length": loaded.max_positions}
        (new / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=1) + "\n")
        (new / "config.json").write_text(json.dumps(_config(loaded), indent=1) + "\n")
        _trace(loaded, new / FLOAT_FILE)
        worst = _difference(loaded, new / FLOAT_FILE)
        say(f"traced {FLOAT_FILE}: agrees with torch to {worst:.1g}")
        quantize_dynamic(new / FLOAT_FILE, new / QUANTISED_FILE, per_channel=False, weight_type=QuantType.QInt8)
        say(f"quantised {QUANTISED_FILE} dynamically")
        if out.exists():
            out.rmdir()
        new.rename(out)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    say(f"wrote {out}")


def _config(loaded: Checkpoint) -> dict[str, object]:
    """The checkpoint's configuration as readers of any transformers version understand it: one label."""
    contents: dict[str, object] = json.loads((loaded.folder / "config.json").read_bytes())
    for key in ("dtype", "_name_or_path", "num_labels"):
        contents.pop(key, None)
    return {
        **contents,
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "torch_dtype": "float32",
    }


def _difference(loaded: Checkpoint, path: Path) -> float:
    """Largest |ONNX logit - torch logit| on the golden pairs; refused over the tolerance of our own export."""
    limit = min(DEFAULT_TEMPLATE.max_tokens, loaded.max_positions)
    template = DEFAULT_TEMPLATE.model_copy(update={"max_tokens": limit})
    tokenizer = PairTokenizer(loaded.tokenizer_path, template)
    run = logits_of(open_session(path.read_bytes()))
    return check_against_torch(loaded, run, EncodedPairs(tokenizer, GOLDEN_PAIRS))


def _trace(loaded: Checkpoint, path: Path) -> None:
    model = loaded.model
    model.set_attn_implementation("eager")
    ids = torch.ones((2, 8), dtype=torch.int64)
    with warnings.catch_warnings():
        # The tracing exporter is what the field's tool uses. It is deprecated and warns at every turn; what it wrote
        # is compared with torch afterwards.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, ids, ids),
            str(path),
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={name: {0: "batch_size", 1: "sequence_length"} for name in INPUTS}
            | {OUTPUT: {0: "batch_size"}},
            opset_version=TRACED_OPSET,
            dynamo=False,
        )

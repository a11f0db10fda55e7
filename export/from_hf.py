"""Exports a model from elsewhere: a Hugging Face id or folder, with its own tokenizer and pair format."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import snapshot_download

from artifact import InputTemplate, Manifest, PairFormat
from training.pretrained import resolve

from .attention import Spelling
from .checkpoint import Checkpoint, load_checkpoint, read_config
from .compile import Say, check_pairs_suffice
from .errors import ExportError
from .generator import made_up_pairs
from .model_tokenizer import ModelTokenizer, read_tokenizer
from .pairs_file import read_judged, read_pairs
from .pipeline import export_student
from .plain import PAIRS, untrained_lineage
from .plan import VARIANTS, StudentExport
from .progress import Progress
from .runtime import Pair
from .split.checkpoint import SplitCheckpoint
from .split.from_hf import untrained_split
from .template_file import read_template, template_of
from .weight_files import INDEX_FILE, PICKLE_FILE, SINGLE_FILE

DOWNLOADED = ("*.json", "*.txt", "*.model", "*.safetensors")
LIST_PAIRS, LIST_SIZE = 400, 20
"""Made-up candidates that int8 ranks beside fp32: too few to refuse, enough to search a better scheme and to warn."""
IN_FOLDERS = ("*/*",)
"""Other formats of the same model, which no export reads."""


Architecture = Literal["cross-encoder", "split"]


@dataclass(frozen=True)
class HubExport:
    """What is exported, and how it is told to read products.

    | field | use |
    |---|---|
    | `model` | Hugging Face id, or a folder with config.json, weights and tokenizer |
    | `created` | date for the manifest, YYYY-MM-DD |
    | `template` | a file, see template_file.py; then `fields` and the two limits are left out |
    | `fields`, `max_tokens`, `max_query_tokens` | see `template_of`; all None: the title alone |
    | `gains` | of the model's outputs, see head.py. None: evenly spaced |
    | `calibration` | JSONL of pairs to measure int8 ranges on. None: made-up pairs |
    | `variants` | which files go into the artifact |
    | `attention` | its spelling, see attention.py. None: the faster one here |
    | `architecture` | `split`: `model` is a sentence encoder, see split/from_hf.py |
    """

    model: str
    name: str
    created: str
    template: Path | None = None
    fields: str | None = None
    max_tokens: int | None = None
    max_query_tokens: int | None = None
    gains: tuple[float, ...] | None = None
    calibration: Path | None = None
    variants: Sequence[str] = VARIANTS
    attention: Spelling | None = None
    architecture: Architecture = "cross-encoder"


def export_from_hf(plan: HubExport, out: Path, say: Say | None = None) -> Manifest:
    """Exports a sequence classifier that transformers can load, or a sentence encoder as an untrained split student.

    There is no evaluation; scores are calibrated where lines of `calibration` hold targets, and else plain sigmoids.

    Raises:
        ExportError: as `load_checkpoint`, `read_tokenizer`, `read_pairs`, `read_template` and `export_student`.
            `out` is as it was.
    """
    say = say or Progress()
    pairs = made_up_pairs(PAIRS) if plan.calibration is None else read_pairs(plan.calibration)
    check_pairs_suffice(len(pairs))
    judged = [] if plan.calibration is None else read_judged(plan.calibration)
    folder = _folder(plan.model, say)
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer_path = Path(temporary) / "tokenizer.json"
        checkpoint: Checkpoint | SplitCheckpoint
        if plan.architecture == "split":
            checkpoint = _load_split(plan, folder, tokenizer_path, say)
            template, attention = checkpoint.student.tokenizer.template, plan.attention
        else:
            checkpoint, form = _load(folder, tokenizer_path, plan.gains, say)
            template = _template(plan, form, checkpoint.max_positions)
            attention = None if checkpoint.family.traced else plan.attention
        student = StudentExport(
            checkpoint=checkpoint,
            name=plan.name,
            template=template,
            lineage=untrained_lineage(_short_name(plan.model, folder), plan.created),
            calibration_pairs=pairs,
            calibration_data="made-up pairs" if plan.calibration is None else plan.calibration.name,
            lists=_lists(pairs) if plan.calibration else _lists(made_up_pairs(LIST_PAIRS, 1, LIST_SIZE)),
            variants=plan.variants,
            attention=attention,
            dev_pairs=judged,
            dev_data="" if plan.calibration is None else plan.calibration.name,
        )
        return export_student(student, out, say)


def _load(
    folder: Path, tokenizer_path: Path, gains: Sequence[float] | None, say: Callable[[str], None]
) -> tuple[Checkpoint, PairFormat]:
    family, config = read_config(folder)
    tokenizer = _read_tokenizer(folder, config, tokenizer_path)
    checkpoint = load_checkpoint(folder, say, gains, tokenizer.path, tokenizer.token_types, seed_head=False)
    form = tokenizer.pair_format
    joined = " ".join((*form.before, "query", *form.between, "product", *form.after))
    say(f"{family.model_type}: reads {joined}, token types {'told' if checkpoint.shape.token_types else 'not told'}")
    if family.traced:
        say(f"no graph of ours for {family.model_type}: transformers' code is traced, and its products quantised")
    if checkpoint.outputs:
        say(f"outputs made one logit by their gains: {checkpoint.outputs}")
    return checkpoint, form


def _load_split(plan: HubExport, folder: Path, tokenizer_path: Path, say: Say) -> SplitCheckpoint:
    if plan.gains is not None:
        raise ExportError("a split student has one output, which is the logit: leave the gains out")
    family, config = read_config(folder)
    if family.model_type != "bert":
        raise ExportError(f"{folder}: a split student needs an encoder of model_type bert, found {family.model_type}")
    form = _read_tokenizer(folder, config, tokenizer_path).pair_format
    template = _template(plan, form, int(config.get("max_position_embeddings", 512)))
    say(f"a split student of {folder}, untrained: cosine of mean vectors plus MaxSim, each with weight 1")
    return untrained_split(folder, tokenizer_path, template)


def _read_tokenizer(folder: Path, config: dict[str, Any], path: Path) -> ModelTokenizer:
    rows, pad_id = config.get("vocab_size"), config.get("pad_token_id")
    if not isinstance(rows, int):
        raise ExportError(f"{folder / 'config.json'}: expected vocab_size, a number, found {rows!r}")
    return read_tokenizer(folder, path, rows, pad_id if isinstance(pad_id, int) else None)


def _lists(pairs: Sequence[Pair]) -> list[tuple[list[Pair], list[float]]]:
    """The pairs of each query, without labels: int8 is held to the order that fp32 gives them."""
    lists: dict[str, list[Pair]] = {}
    for pair in pairs:
        lists.setdefault(pair[0], []).append(pair)
    return [(found, []) for found in lists.values() if len(found) > 1]


def _template(plan: HubExport, form: PairFormat, max_positions: int) -> InputTemplate:
    if plan.template is None:
        return template_of(form, max_positions, plan.fields, plan.max_tokens, plan.max_query_tokens)
    if any(each is not None for each in (plan.fields, plan.max_tokens, plan.max_query_tokens)):
        raise ExportError(f"{plan.template}: it says all of the template: leave the options for fields and limits out")
    return read_template(plan.template, form)


def _folder(model: str, say: Say) -> Path:
    """A folder as it is, or a download of an id."""
    found = Path(resolve(model))
    if found.is_dir():
        return found
    say(f"{model}: no such folder, asking the Hugging Face hub")
    try:
        folder = Path(snapshot_download(model, allow_patterns=list(DOWNLOADED), ignore_patterns=list(IN_FOLDERS)))
        if not any((folder / name).is_file() for name in (SINGLE_FILE, INDEX_FILE)):
            snapshot_download(model, allow_patterns=PICKLE_FILE)
    except Exception as error:  # no network, no such model and no permission raise different types
        problem = str(error).strip().partition("\n")[0]
        raise ExportError(f"{model}: expected a folder or a Hugging Face id: {problem}") from error
    return folder


def _short_name(model: str, folder: Path) -> str:
    return folder.absolute().name if Path(model).is_dir() else model

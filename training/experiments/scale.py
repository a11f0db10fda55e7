"""Many synthetic rows through every stage of the command line, with the peak memory of each stage's processes."""

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from ..errors import TrainingError
from ..runs import write_json

STAGES = ("teacher", "mine", "label", "student", "evaluate")
CANDIDATES = 12
SAMPLE_EVERY_S = 0.05
_WORDS = tuple(f"{a}{b}{c}" for a, b, c in itertools.product("bdfgklmnprst", "aeiou", "lmnrst"))


def run_scale(rows: int, out: Path, limit_mb: int, keep: bool) -> int:
    """Makes `rows` rows and runs the stages: a tenth products, a tenth judged pairs, the rest mined pairs.

    Returns:
        0, or 1 if the peak passed the limit; prints one line a stage.

    Raises:
        TrainingError: a stage failed, or `out` holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise TrainingError(f"{out}: is not empty; choose another --out, or delete it")
    start = time.perf_counter()
    queries = write_data(rows, out / "data")
    config = write_config(out, queries)
    found: dict[str, Any] = {"data": {"seconds": round(time.perf_counter() - start, 1), "rows": rows // 5 + queries}}
    _show("data", found["data"])
    # judged pairs are read by the stages that train on or measure people's grades, mined ones by the others
    stage_rows = dict.fromkeys(STAGES, queries * CANDIDATES) | {"teacher": rows // 10, "evaluate": rows // 10}
    for stage in STAGES:
        command = [sys.executable, "-m", "training", stage, "--config", str(config)]
        seconds, peak = watched(
            [*command, "--data", str(out / "data"), "--run", str(out / "run")], out / f"{stage}.log"
        )
        found[stage] = {"seconds": round(seconds, 1), "rows": stage_rows[stage], "peak_mb": round(peak / 1e6, 1)}
        _show(stage, found[stage])
    highest = max(found[stage]["peak_mb"] for stage in STAGES)
    print(f"peak {highest:.0f} MB, limit {limit_mb} MB, {rows:,} rows")  # noqa: T201
    if keep:
        write_json(out / "scale.json", found)
    else:
        shutil.rmtree(out)
    return int(highest > limit_mb)


def watched(command: list[str], log: Path) -> tuple[float, int]:
    """Runs a command to its end.

    Returns:
        Seconds, and the highest sum of resident bytes of its process and their children, sampled 20 times a second.

    Raises:
        TrainingError: it failed; with the last line that it wrote.
    """
    start, peak = time.perf_counter(), 0
    one_thread = {"OMP_NUM_THREADS": "1", **os.environ}  # threads that wait for each other cost more than they bring
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file, env=one_thread) as process:  # noqa: S603
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _resident(tree))
            time.sleep(SAMPLE_EVERY_S)
    if process.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise TrainingError(f"`{' '.join(command[1:4])}` ended with exit code {process.returncode}: {last}")
    return time.perf_counter() - start, peak


def write_data(rows: int, folder: Path, seed: int = 0) -> int:
    """Writes catalogue, judgements and queries, a row at a time.

    Returns:
        How many unlabelled queries there are.
    """
    folder.mkdir(parents=True)
    tenth = max(1000, rows // 10)
    queries = max(10, (rows - 2 * (rows // 10)) // CANDIDATES)
    random = np.random.default_rng(seed)
    titles = ((f"{' '.join(_pick(random, 8))} {i}", _WORDS[i % 97]) for i in range(tenth))
    _write(folder / "products.csv", ("id", "title", "brand"), ((i, *row) for i, row in enumerate(titles)))
    judged = (
        (f"{_WORDS[q % 360]} {_WORDS[q // 360 % 360]} {q}", int(random.integers(tenth)), i % 2 * 2)
        for q, i in itertools.product(range(max(1, rows // 100)), range(10))
    )
    _write(folder / "judged.csv", ("query", "id", "grade"), judged)
    asked = ((f"{' '.join(_pick(random, 3))} u{i}",) for i in range(queries))
    _write(folder / "queries.csv", ("query",), asked)
    return queries


def write_config(out: Path, queries: int) -> Path:
    """A configuration over the data with a tiny random encoder, which it makes."""
    encoder = json.dumps(str(_tiny_encoder(out / "encoder")))
    path = out / "config.toml"
    path.write_text(_CONFIG.replace("ENCODER", encoder).replace("QUERIES", str(queries)))
    return path


def _pick(random: np.random.Generator, count: int) -> list[str]:
    return [_WORDS[i] for i in random.integers(len(_WORDS), size=count).tolist()]


def _write(
    path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]] | Iterator[tuple[object, ...]]
) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _tiny_encoder(folder: Path) -> Path:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    words = [*special, *_WORDS, *signs, *(f"##{sign}" for sign in signs)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def _resident(tree: psutil.Process) -> int:
    try:
        return sum(process.memory_info().rss for process in [tree, *tree.children(recursive=True)])
    except psutil.NoSuchProcess:  # it ended between the two looks
        return 0


def _show(stage: str, figures: dict[str, Any]) -> None:
    speed = figures["rows"] / max(figures["seconds"], 0.1)
    memory = f", peak {figures['peak_mb']:.0f} MB" if "peak_mb" in figures else ""
    line = f"{stage}: {figures['rows']:,} rows in {figures['seconds']:.1f} s, {speed:,.0f} rows/s{memory}"
    print(line, flush=True)  # noqa: T201


_TEMPLATE = '{ max_query_tokens = 12, max_tokens = 40, fields = [{ name = "title", max_tokens = 16 }] }'
_CONFIG = f"""
seed = 1
encoder = ENCODER

[[data.judgements]]
name = "judged"
file = "judged.csv"
licence = "synthetic"
grade = "grade"
product_id = "id"
targets = {{ "0" = 0.0, "2" = 1.0 }}
ndcg_gains = {{ "0" = 0.0, "2" = 3.0 }}
catalogue = "products"

[[data.catalogues]]
name = "products"
file = "products.csv"
licence = "synthetic"
id = "id"
columns = {{ title = "title", brand = "brand" }}
pool = "shop"

[[data.queries]]
name = "queries"
file = "queries.csv"
licence = "synthetic"

[mining]
max_queries = QUERIES
[mining.pools.shop]
bm25 = 4
dense = 4
middle = 2
random = 2

[teacher]
model = ENCODER
template = {_TEMPLATE}
fit = {{ learning_rate = 1e-3, epochs = 1, batch_pairs = 512 }}

[student]
init = ENCODER
layers = [0]
template = {_TEMPLATE}
stages = [{{ labels = "teacher", fit = {{ learning_rate = 1e-3, epochs = 1, batch_pairs = 1200 }} }}]
"""

"""A tiny random encoder in a folder, small data files, and a configuration that trains on them in seconds."""

import csv
import gzip
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from training.__main__ import main
from training.runs import read_run

KINDS = ["charger", "mouse", "keyboard", "lamp", "tripod", "headset"]
BRANDS = ["acme", "globex", "initech", "umbrella"]
COLOURS = ["black", "white", "red"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random three-layer BERT, 32 wide, whose vocabulary covers the words of these tests."""
    folder = tmp_path_factory.mktemp("tiny-encoder")
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(d) for d in range(10)]
    words = [*SPECIAL, *KINDS, *BRANDS, *COLOURS, *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """A catalogue of 72 products, 12 judged queries in two splits, and 30 unlabelled queries."""
    folder = tmp_path / "data"
    folder.mkdir()
    products = [
        {"sku": f"p{i}", "name": f"{brand} {kind} {colour}", "maker": brand, "shade": colour}
        for i, (kind, brand, colour) in enumerate((k, b, c) for k in KINDS for b in BRANDS for c in COLOURS)
    ]
    with gzip.open(folder / "products.csv.gz", "wt", newline="") as file:
        _write(file, products)
    judged = [
        {
            "query": f"{brand} {kind}",
            "sku": product["sku"],
            "grade": str(int(kind in product["name"]) * 2),
            "split": split,
        }
        for kind in KINDS
        for brand, split in (("acme", "train"), ("globex", "test"))
        for product in products[::5]
    ]
    with (folder / "judged.csv").open("w", newline="") as file:
        _write(file, judged)
    with (folder / "queries.csv").open("w", newline="") as file:
        _write(file, [{"q": f"{colour} {kind}"} for colour in COLOURS for kind in KINDS] + [{"q": "Globex, MOUSE!"}])
    return folder


@pytest.fixture
def config_file(tmp_path: Path, tiny_encoder: Path) -> Path:
    """A configuration over `data_folder`."""
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace("ENCODER", json.dumps(str(tiny_encoder))))
    return path


@pytest.fixture
def command(data_folder, config_file, tmp_path):
    """Runs a stage of the pipeline through the command line and returns its exit code."""

    def run(stage: str, *more: str) -> int:
        return main(
            [stage, "--config", str(config_file), "--data", str(data_folder), "--run", str(tmp_path / "run"), *more]
        )

    return run


@pytest.fixture
def run_of(data_folder, tmp_path):
    """Opens the run that `command` works in."""
    return lambda: read_run(tmp_path / "run", data_folder)


def _write(file: object, rows: list[dict[str, str]]) -> None:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


CONFIG = """
seed = 3
encoder = ENCODER

[[data.judgements]]
name = "judged"
file = "judged.csv"
licence = "CC0-1.0"
grade = "grade"
product_id = "sku"
targets = { "0" = 0.0, "2" = 1.0 }
ndcg_gains = { "0" = 0.0, "2" = 3.0 }
auc = [[["2"], ["0"]]]
catalogue = "products"
split = "split"

[[data.catalogues]]
name = "products"
file = "products.csv.gz"
licence = "CC0-1.0"
id = "sku"
columns = { title = "name", brand = "maker", color = "shade" }
pool = "shop"

[[data.queries]]
name = "queries"
file = "queries.csv"
licence = "CC0-1.0"
column = "q"

[mining]
lists_per_shard = 5
[mining.pools.shop]
bm25 = 2
dense = 2
middle = 1
random = 1

[teacher]
model = ENCODER
template = { max_query_tokens = 16, max_tokens = 48, fields = [{ name = "title", max_tokens = 16 }] }
fit = { learning_rate = 1e-3, epochs = 1, batch_pairs = 16 }

[student]
init = ENCODER
layers = [0, 2]
template = { max_query_tokens = 16, max_tokens = 48, fields = [{ name = "title", max_tokens = 16 }] }
stages = [
    { labels = "similarity", fit = { learning_rate = 1e-3, epochs = 2, batch_pairs = 24 } },
    { labels = "teacher", max_lists = 10, fit = { learning_rate = 1e-3, epochs = 1, batch_pairs = 24 } },
]
"""

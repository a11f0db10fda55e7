"""Readers of the public data sets and of one's own tables, on small files in the real formats."""

import csv
import gzip
import json
import re
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from training.config import Catalogue, Data, Judgements, Queries
from training.data import read_all_judgements, read_catalogue, read_judgements, read_queries
from training.errors import TrainingError

EXAMPLES = "shopping_queries_dataset_examples.parquet"
PRODUCTS = "shopping_queries_dataset_products.parquet"


def example(query, product, label, *, locale="us", small=1, split="train"):
    return {
        "example_id": abs(hash((query, product))) % 1000,
        "query": query,
        "query_id": abs(hash(query)) % 1000,
        "product_id": product,
        "product_locale": locale,
        "esci_label": label,
        "small_version": small,
        "large_version": 1,
        "split": split,
    }


def esci_product(product, title, *, locale="us", bullets=None, brand=None):
    return {
        "product_id": product,
        "product_title": title,
        "product_description": None,
        "product_bullet_point": bullets,
        "product_brand": brand,
        "product_color": None,
        "product_locale": locale,
    }


@pytest.fixture
def esci(tmp_path):
    """The two official files: two locales that share a product id, two versions, and one query in both splits."""
    examples = [
        example("usb hub", "B1", "E"),
        example("usb hub", "B2", "S", small=0),
        example("desk lamp", "B2", "C", split="test"),
        example("desk lamp", "B1", "I", split="test"),
        example("Lamp, desk", "B1", "I"),
        example("lampe", "B1", "E", locale="es", split="test"),
    ]
    products = [
        esci_product("B1", "A hub", bullets="four ports", brand="Acme"),
        esci_product("B2", "A dock"),
        esci_product("B1", "Un hub", locale="es"),
    ]
    pq.write_table(pa.Table.from_pylist(examples), tmp_path / EXAMPLES)
    pq.write_table(pa.Table.from_pylist(products), tmp_path / PRODUCTS)
    return tmp_path


def esci_source(**more):
    return Judgements(name="esci", file=EXAMPLES, licence="Apache-2.0", reader="esci", **more)


def read(folder, source, *catalogues):
    return read_judgements(folder, Data(judgements=(source,), catalogues=catalogues), source)


def test_esci_joins_products_of_its_locale_and_maps_labels(esci):
    first, second, *_ = read(esci, esci_source())
    assert first.product == {"title": "A hub", "brand": "Acme", "description": "four ports"}
    assert (first.query, first.grade, first.target, first.split) == ("usb hub", "E", 1.0, "train")
    assert (second.grade, second.target) == ("S", 0.5)


def test_esci_gains_are_those_of_the_task_and_not_of_its_script():
    assert esci_source().ndcg_gains == {"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}


def test_esci_training_rows_whose_query_is_a_test_query_are_dropped(esci):
    pairs = read(esci, esci_source())
    assert [pair.query for pair in pairs] == ["usb hub", "usb hub", "desk lamp", "desk lamp"]
    with pytest.raises(TrainingError, match="stands in train and in test"):
        read(esci, esci_source(leaks="refuse"))


def test_esci_versions_and_locales_are_filters(esci):
    assert [pair.product["title"] for pair in read(esci, esci_source(version="small"))][:2] == ["A hub", "A dock"]
    assert [pair.product["title"] for pair in read(esci, esci_source(locale="es"))] == ["Un hub"]
    assert len(read(esci, esci_source(locale="all"))) == 5
    with pytest.raises(TrainingError, match=r"examples\.parquet: no row has product_locale = 'fr'.*found: .*es, us"):
        read(esci, esci_source(locale="fr"))


def test_esci_products_and_queries_can_be_mined(esci):
    catalogue = Catalogue(name="c", file=PRODUCTS, licence="x", reader="esci")
    assert [title for _, title in read_catalogue(esci, catalogue)][1] == {"title": "A dock"}
    assert len(read_catalogue(esci, catalogue)) == 2
    queries = Queries(name="q", file=EXAMPLES, licence="x", reader="esci", locale="es")
    assert read_queries(esci, queries) == ["lampe"]


def test_an_esci_product_that_is_missing_is_named_with_its_row(esci):
    table = pq.read_table(esci / PRODUCTS)
    pq.write_table(table.slice(1), esci / PRODUCTS)
    with pytest.raises(TrainingError, match=r"examples\.parquet, row 1: product 'B1' in 'us' is not in shopping"):
        read(esci, esci_source())


WANDS_PRODUCT_COLUMNS = [
    "product_id",
    "product_name",
    "product_class",
    "category hierarchy",
    "product_description",
    "product_features",
    "rating_count",
    "average_rating",
    "review_count",
]


@pytest.fixture
def wands(tmp_path):
    """The three official files, separated by tabs, with the quotes of inches doubled."""
    tables = {
        "query.csv": [["query_id", "query", "query_class"], [0, "salon chair", "Chairs"], [208, '36" vanity', ""]],
        "product.csv": [
            WANDS_PRODUCT_COLUMNS,
            [7, "a chair", "Chairs|Seats", "Furniture / Chairs", "soft ,\nred", "a:b|c:d", 15.0, 4.5, 15.0],
            [8, 'vanity 36"', "", "", "", "", "", "", ""],
        ],
        "label.csv": [
            ["id", "query_id", "product_id", "label"],
            [0, 0, 7, "Exact"],
            [1, 0, 8, "Irrelevant"],
            [2, 208, 8, "Partial"],
        ],
    }
    for name, rows in tables.items():
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows(rows)
    return tmp_path


def wands_source(file="label.csv", **more):
    return Judgements(name="wands", file=file, licence="MIT", reader="wands", **more)


def test_wands_joins_its_three_files(wands):
    pairs = read(wands, wands_source())
    assert [(p.query, p.grade, p.target) for p in pairs] == [
        ("salon chair", "Exact", 1.0),
        ("salon chair", "Irrelevant", 0.0),
        ('36" vanity', "Partial", 0.5),
    ]
    assert pairs[0].product == {"title": "a chair", "product_type": "Chairs|Seats", "description": "soft ,\nred"}
    assert pairs[2].product == {"title": 'vanity 36"'}


def test_a_wands_label_of_an_unknown_query_is_named_with_its_line(wands):
    with (wands / "label.csv").open("a") as file:
        file.write("3\t99\t7\tExact\n")
    with pytest.raises(TrainingError, match=r"label\.csv, line 5: query '99' is not in query\.csv"):
        read(wands, wands_source())


ROWS = [
    {"q": "usb hub", "t": "A hub, four ports", "g": "good", "n": 4},
    {"q": "usb hub", "t": "Käse", "g": "bad", "n": None},
]


def own(file, **more):
    settings = {"grade": "g", "targets": {"good": 1.0, "bad": 0.1}, "columns": {"title": "t"}, **more}
    return Judgements(name="own", file=file, licence="x", query="q", **settings)


def write(path):
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    table = "q,t,g,n\n" + "".join(f'{row["q"]},"{row["t"]}",{row["g"]},{row["n"] or ""}\n' for row in ROWS)
    contents = {".jsonl": text, ".csv": table, ".tsv": table.replace('"', "").replace(", ", " ; ").replace(",", "\t")}
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(contents[path.with_suffix("").suffix].encode()))
    else:
        path.write_text(contents[path.suffix])


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_every_format_of_one_s_own_gives_the_same_pairs(tmp_path, name):
    write(tmp_path / name)
    pairs = read(tmp_path, own(name, columns={"title": "t", "color": "n"}))
    title = ROWS[0]["t"].replace(", ", " ; ") if name == "a.tsv" else ROWS[0]["t"]
    assert [dict(pair.product) for pair in pairs] == [{"title": title, "color": "4"}, {"title": "Käse"}]
    assert [(pair.query, pair.grade, pair.target) for pair in pairs] == [
        ("usb hub", "good", 1.0),
        ("usb hub", "bad", 0.1),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"q": "a", "t": "b", "g": "good"', r"line 1: expected a JSON object: "),
        ('["a"]', r"line 1: expected a JSON object, found "),
        ('{"q": "a", "t": ["b"], "g": "good"}', r"line 1: expected text in t, found \[\"b\"\]"),
        ('{"q": "a", "t": "b"}', r"expected columns \['g'\], found \['q', 't'\]"),
        ('{"q": "a", "g": "good"}', r"expected columns \['t'\], found \['g', 'q'\]"),
        ('{"q": " ", "t": "b", "g": "good"}', r"line 1: expected a query, found none"),
        ('{"q": "a", "t": "b", "g": "so-so"}', r"line 1: grade 'so-so' is not one of \['good', 'bad'\]"),
    ],
)
def test_a_bad_json_line_is_refused_by_file_line_and_expectation(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(TrainingError, match=r"a\.jsonl.*" + message):
        read(tmp_path, own("a.jsonl"))


def test_parquet_that_is_cut_in_half_or_lacks_a_column_is_refused_by_name(tmp_path):
    path = tmp_path / "a.parquet"
    write(path)
    with pytest.raises(TrainingError, match=r"a\.parquet: expected columns \['x'\], found \['q', 't', 'g', 'n'\]"):
        read(tmp_path, own("a.parquet", columns={"title": "x"}))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TrainingError, match=r"a\.parquet: cut short or damaged"):
        read(tmp_path, own("a.parquet"))


def test_parquet_with_bytes_that_are_not_utf8_or_with_lists_is_refused_by_column(tmp_path):
    pq.write_table(pa.table({"q": ["a"], "t": [b"caf\xe9"], "g": ["good"]}), tmp_path / "a.parquet")
    with pytest.raises(TrainingError, match=r"a\.parquet: column t is not UTF-8"):
        read(tmp_path, own("a.parquet"))
    pq.write_table(pa.table({"q": ["a"], "t": [["x"]], "g": ["good"]}), tmp_path / "a.parquet")
    with pytest.raises(TrainingError, match=r"a\.parquet: expected text in column t, found list"):
        read(tmp_path, own("a.parquet"))


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "much"])
def test_a_soft_target_outside_0_to_1_is_refused_by_line(tmp_path, value):
    (tmp_path / "a.csv").write_text(f"q,t,s\na,b,0.25\na,c,\na,d,{value}\n")
    with pytest.raises(TrainingError, match=rf"a\.csv, line 4: target '{value}' in s: expected a number from 0 to 1"):
        read(tmp_path, own("a.csv", grade=None, targets={}, target="s"))


def test_a_soft_target_may_stand_in_a_column_and_a_blank_one_is_unjudged(tmp_path):
    (tmp_path / "a.csv").write_text("q,t,s\na,b,0.25\na,c,\n")
    (pair,) = read(tmp_path, own("a.csv", grade=None, targets={}, target="s"))
    assert (pair.target, pair.grade) == (0.25, "")


def test_the_value_under_a_key_of_a_json_column_can_be_a_product_field(tmp_path):
    with (tmp_path / "c.csv").open("w", newline="") as file:
        rows = [{"product_colour": "Silver", "touchscreen": False}, {}]
        csv.writer(file).writerows(
            [["id", "title", "attributes"], *([i, "x", json.dumps(r)] for i, r in enumerate(rows))]
        )
        file.write("2,y,\n")
    columns = {"title": "title", "color": "attributes:product_colour", "gender": "attributes:touchscreen"}
    source = Catalogue(name="c", file="c.csv", licence="x", columns=columns, id="id")
    assert read_catalogue(tmp_path, source) == [
        ("0", {"title": "x", "color": "Silver", "gender": "false"}),
        ("1", {"title": "x"}),
        ("2", {"title": "y"}),
    ]
    with (tmp_path / "c.csv").open("a") as file:
        file.write("3,z,no JSON\n")
    with pytest.raises(TrainingError, match=r"line 5: expected a JSON object in column attributes, found 'no JSON'"):
        read_catalogue(tmp_path, source)


def test_rows_can_be_chosen_by_the_value_of_a_column(tmp_path):
    write(tmp_path / "a.csv")
    assert [pair.grade for pair in read(tmp_path, own("a.csv", where={"n": "4"}))] == ["good"]
    with pytest.raises(TrainingError, match=r"a\.csv: no row has n = '5'; values found: n: 4"):
        read(tmp_path, own("a.csv", where={"n": "5"}))


def test_leaks_across_sources_can_be_dropped_from_training(tmp_path):
    (tmp_path / "a.csv").write_text("q,t,g,s\nusb hub,b,good,test\n")
    (tmp_path / "b.csv").write_text("q,t,g,s\nHub USB,b,good,train\nlamp,b,good,train\n")
    a, b = own("a.csv", split="s"), own("b.csv", split="s").model_copy(update={"name": "b"})
    with pytest.raises(TrainingError, match=r"a\.csv and .*b\.csv: query 'Hub USB' stands in train and in test"):
        read_all_judgements(tmp_path, Data(judgements=(a, b)))
    dropping = b.model_copy(update={"leaks": "drop"})
    pairs = read_all_judgements(tmp_path, Data(judgements=(a, dropping)))
    assert [(pair.query, pair.split) for pair in pairs] == [("usb hub", "test"), ("lamp", "train")]


def test_the_examples_of_the_documentation_are_valid():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    examples = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    readers = {source.reader for e in examples for source in Data.model_validate(tomllib.loads(e)["data"]).judgements}
    assert readers == {"table", "esci", "wands"}


def test_filled_in_settings_survive_being_written_down_and_read_again():
    for source in (esci_source(version="small"), wands_source(test_share=0.5), own("a.csv")):
        assert Judgements.model_validate(json.loads(source.model_dump_json())) == source


def test_a_source_names_all_files_that_it_is_read_from():
    assert esci_source().files == (EXAMPLES, PRODUCTS)
    assert wands_source(file="data/label.csv").files == ("data/label.csv", "data/product.csv", "data/query.csv")
    assert own("a.csv").files == ("a.csv",)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"target": "s"}, "either `grade` with `targets`, or `target`"),
        ({"targets": {}}, "either `grade` with `targets`, or `target`"),
        ({"locale": "us"}, "locale is a setting of the reader esci"),
        ({"version": "small"}, "settings of the readers esci and wands"),
        ({"reader": "xml"}, "Input should be 'table', 'esci' or 'wands'"),
    ],
)
def test_settings_of_another_reader_are_refused(more, message):
    with pytest.raises(ValidationError, match=message):
        own("a.csv", **more)

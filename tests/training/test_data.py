"""Readers: what they read, and how they refuse."""

import gzip

import pytest

from training.config import Catalogue, Config, read_config
from training.data import read_all_judgements, read_catalogue, read_judgements, read_rows, split_of
from training.errors import TrainingError


@pytest.fixture
def config(config_file) -> Config:
    return read_config(config_file)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_judgements_carry_the_products_of_their_catalogue(data_folder, config):
    pairs = read_all_judgements(data_folder, config.data)
    first = pairs[0]
    assert first.query == "acme charger"
    assert first.product == {"title": "acme charger black", "brand": "acme", "color": "black"}
    assert (first.grade, first.target, first.split) == ("2", 1.0, "train")
    assert {pair.split for pair in pairs} == {"train", "test"}


def test_a_missing_file_says_which_option_names_its_folder(data_folder, config):
    (data_folder / "judged.csv").unlink()
    with pytest.raises(TrainingError, match=r"judged\.csv: no such file; --data names the folder"):
        read_all_judgements(data_folder, config.data)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("query,sku,grade", "query,sku,rating", r"expected columns \['grade'\], found \['query', 'sku', 'rating'"),
        ("acme charger,p0,2,train", "acme charger,p0,9,train", r"line 2: grade '9' is not one of \['0', '2'\]"),
        ("acme charger,p0,2,train", " ,p0,2,train", r"line 2: expected a query, found none"),
        ("acme charger,p0,2,train", "acme, charger,p0,2,train", r"line 2: more values than the header has columns"),
        ("acme charger,p0,2,train", '"acme charger,p0,2,train', r"after line 1: .*unexpected end of data"),
        ("query,sku,grade,split", "query;sku;grade;split", r"found \['query;sku.*; values are separated by commas"),
        ("acme charger,p0,2,train", "acme charger,p0,2,dev", r"line 2: split 'dev': expected train or test"),
        ("acme charger,p0,2,train", "acme charger,x7,2,train", r"line 2: product 'x7' is not in catalogue products"),
        ("acme charger,p0,2,train", "acme charger,p0", r"line 2: fewer values than the header has columns"),
        ("acme charger,p0,2,train", "Charger acme!,p0,2,test", r"stands in train and in test"),
    ],
)
def test_a_bad_row_is_refused_by_file_line_and_expectation(data_folder, config, old, new, message):
    change(data_folder / "judged.csv", old, new)
    with pytest.raises(TrainingError, match=message) as refusal:
        read_all_judgements(data_folder, config.data)
    assert "judged.csv" in str(refusal.value)


def test_a_damaged_gzip_file_is_refused_by_name(data_folder, config):
    path = data_folder / "products.csv.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TrainingError, match=r"products\.csv\.gz: expected CSV in UTF-8"):
        read_all_judgements(data_folder, config.data)


def test_bytes_that_are_no_gzip_inside_are_refused_by_name(data_folder, config):
    path = data_folder / "products.csv.gz"
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes(3) + content[43:])
    with pytest.raises(TrainingError, match=r"products\.csv\.gz: expected CSV in UTF-8 in a whole gzip file"):
        read_all_judgements(data_folder, config.data)


def test_a_folder_in_a_files_place_is_refused_by_name(tmp_path):
    with pytest.raises(TrainingError, match="cannot be read: Is a directory"):
        list(read_rows(tmp_path, {"title"}))


def test_the_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_first_column(data_folder, config):
    path = data_folder / "judged.csv"
    plain = read_all_judgements(data_folder, config.data)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_all_judgements(data_folder, config.data) == plain


def test_two_products_under_one_id_are_refused_and_a_repeated_row_is_not(data_folder, config):
    path = data_folder / "products.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress((text + text.splitlines()[1] + "\n").encode()))
    assert read_all_judgements(data_folder, config.data)
    path.write_bytes(gzip.compress(text.replace("p1,", "p0,", 1).encode()))
    with pytest.raises(TrainingError, match=r"products\.csv\.gz: two different products have the id 'p0'"):
        read_all_judgements(data_folder, config.data)


def test_a_test_query_of_one_source_may_not_be_a_training_query_of_another(data_folder, config):
    lines = (data_folder / "judged.csv").read_text()
    (data_folder / "more.csv").write_text(
        lines.replace(",train", ",dev").replace(",test", ",train").replace(",dev", ",test")
    )
    more = config.data.judgements[0].model_copy(update={"name": "more", "file": "more.csv"})
    data = config.data.model_copy(update={"judgements": (*config.data.judgements, more)})
    with pytest.raises(TrainingError, match="stands in train and in test"):
        read_all_judgements(data_folder, data)


def test_text_that_is_not_utf8_is_refused_by_name(tmp_path):
    (tmp_path / "latin.csv").write_bytes("title\ncafé\n".encode("latin-1"))
    with pytest.raises(TrainingError, match=r"latin\.csv: expected CSV in UTF-8"):
        list(read_rows(tmp_path / "latin.csv", {"title"}))


def test_a_catalogue_without_an_id_column_can_be_read_but_not_joined(data_folder, config):
    source = config.data.catalogues[0].model_copy(update={"id": None})
    assert len(read_catalogue(data_folder, source)) == 72
    data = config.data.model_copy(update={"catalogues": (source,)})
    with pytest.raises(TrainingError, match="expected a catalogue 'products' with an `id` column"):
        read_judgements(data_folder, data, data.judgements[0])


def test_without_a_split_column_queries_are_split_by_a_hash_that_spelling_does_not_change(data_folder, config):
    source = config.data.judgements[0].model_copy(update={"split": None, "test_share": 0.5})
    pairs = read_judgements(data_folder, config.data, source)
    assert {pair.split for pair in pairs} == {"train", "test"}
    assert split_of("USB  charger", 0.5) == split_of("charger, usb", 0.5)


def test_blank_fields_are_absent(tmp_path):
    with gzip.open(tmp_path / "c.csv.gz", "wt") as file:
        file.write('name,maker\nlamp,"  "\n')
    source = Catalogue(name="c", file="c.csv.gz", licence="x", columns={"title": "name", "brand": "maker"})
    assert read_catalogue(tmp_path, source) == [("", {"title": "lamp"})]


def test_a_configuration_error_names_file_and_setting(config_file):
    change(
        config_file,
        "learning_rate = 1e-3, epochs = 1, batch_pairs = 16",
        "learning_rate = -1, epochs = 1, batch_pairs = 16",
    )
    with pytest.raises(TrainingError, match=r"config\.toml: .*\n  teacher\.fit\.learning_rate: .*greater than 0"):
        read_config(config_file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('ndcg_gains = { "0" = 0.0, ', "ndcg_gains = { ", "ndcg_gains must name the grades of targets"),
        ('auc = [[["2"]', 'auc = [[["9"]', r"auc names \['9'\], which targets does not"),
        ('"2" = 1.0 }', '"2" = 2.0 }', r"targets\.2: .*less than or equal to 1"),
        ("layers = [0, 2]", "layers = [0, 0]", "each may be kept once"),
        ("layers = [0, 2]", "layers = [-1]", r"layers\.0: .*greater than or equal to 0"),
        ("seed = 3", "seed = -3", "seed: .*greater than or equal to 0"),
        ("bm25 = 2\ndense = 2\nmiddle = 1\nrandom = 1", "", "give at least one of bm25"),
        ("seed = 3", "seed = '\u00e9", "not TOML"),
    ],
)
def test_settings_that_a_later_stage_would_stumble_over_are_refused_at_once(config_file, old, new, message):
    change(config_file, old, new)
    with pytest.raises(TrainingError, match=message):
        read_config(config_file)


def test_a_configuration_that_is_not_utf8_or_a_folder_is_refused_by_name(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(TrainingError, match=r"latin\.toml: not TOML"):
        read_config(tmp_path / "latin.toml")
    with pytest.raises(TrainingError, match="cannot be read: Is a directory"):
        read_config(tmp_path)


def test_a_pool_without_a_source_is_refused(config_file):
    change(config_file, "[mining.pools.shop]", "[mining.pools.shelf]")
    with pytest.raises(TrainingError, match=r"mining\.pools names \['shelf'\], the data sources name \['shop'\]"):
        read_config(config_file)

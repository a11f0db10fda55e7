"""A catalogue's states: what the encoder gives for each product, once; the same bytes however often it is stopped."""

import csv
import gzip
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifact import load_artifact
from artifact.errors import StatesError
from artifact.product_states import state_key, states_version
from artifact.states_file import StatesFile, states_path
from artifact.states_format import FOOTER_BYTES, HEADER_BYTES, INDEX_ENTRY_BYTES
from artifact.states_writer import StatesWriter
from export import states
from export.__main__ import main
from export.catalogue import open_catalogue, parse_columns
from export.errors import ExportError
from export.product_encoder import ProductEncoder
from export.progress import EVERY_S, Pace
from export.states import compute_states

from ..service.tiny_model import build_tiny_artifact
from ..split_model import WORDS, build_split_artifact, encode_alone
from .tiny import silent

ROOT = Path(__file__).parents[2]
PRODUCTS = 700


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scratch = tmp_path_factory.mktemp("split")
    build_split_artifact(scratch / "artifact", scratch / "parts")
    return scratch / "artifact"


@pytest.fixture
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "WINDOW", 100)


def made_up(count: int = PRODUCTS, seed: int = 1) -> list[dict[str, str]]:
    """Products of different text; some without a brand, one without anything."""
    words = random.Random(seed)
    products = [
        {
            "title": f"{' '.join(words.choices(WORDS, k=words.randint(1, 12)))} {number}",
            "brand": words.choice(["", "acme", "Red"]),
        }
        for number in range(count - 1)
    ]
    return [*products, {"title": "", "brand": " "}]


def write_csv(path: Path, products: list[dict[str, str]]) -> Path:
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", *products[0]], delimiter="\t" if ".tsv" in path.name else ",")
        writer.writeheader()
        writer.writerows({"id": number, **product} for number, product in enumerate(products))
    return path


def write_jsonl(path: Path, products: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps({k: v for k, v in product.items() if v}) + "\n" for product in products))
    return path


def write_parquet(path: Path, products: list[dict[str, str]]) -> Path:
    pq.write_table(pa.Table.from_pylist(products), path)
    return path


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "products.csv", made_up())


def compute(catalogue: Path, artifact: Path, folder: Path, **options: object) -> Path:
    return compute_states(catalogue, artifact, folder, say=silent, **options).path


def opened(path: Path, artifact: Path, variant: str = "cpu-int8") -> StatesFile:
    manifest = load_artifact(artifact).manifest
    chosen = manifest.variant(variant)
    return StatesFile.open(path, states_version(manifest, chosen), chosen.states)


def keys_of(products: list[dict[str, str]], artifact: Path, variant: str = "cpu-int8") -> list[bytes]:
    manifest = load_artifact(artifact).manifest
    version = states_version(manifest, manifest.variant(variant))
    return [state_key(version, manifest.template, product) for product in products]


@pytest.mark.usefixtures("_small_windows")
@pytest.mark.parametrize("variant", ["cpu-int8", "cpu-fp32"])
def test_each_product_has_the_state_that_the_encoder_gives_it_alone(
    artifact: Path, catalogue: Path, tmp_path: Path, variant: str
) -> None:
    file = opened(compute(catalogue, artifact, tmp_path / "states", variant=variant), artifact, variant)
    model = load_artifact(artifact)
    encoder = model.folder / model.manifest.variant(variant).product_encoder.file
    session = onnxruntime.InferenceSession(str(encoder), providers=["CPUExecutionProvider"])
    assert file.products == PRODUCTS
    products = made_up()
    for product, found in zip(products, file.get_many(keys_of(products, artifact, variant)), strict=True):
        expected = encode_alone(session, model.tokenizer, product)
        assert found is not None
        assert found.tokens.shape == expected.tokens.shape
        within = 1 if variant == "cpu-int8" else 1e-5  # an integer may be rounded the other way
        np.testing.assert_allclose(found.tokens.astype(float), expected.tokens.astype(float), atol=within)
        np.testing.assert_allclose(found.pooled.astype(float), expected.pooled.astype(float), atol=within)
        np.testing.assert_allclose(found.scales, expected.scales, rtol=1e-5)
        np.testing.assert_allclose(found.pooled_scale, expected.pooled_scale, rtol=1e-5)


def test_a_product_without_text_has_a_state_too(artifact: Path, catalogue: Path, tmp_path: Path) -> None:
    file = opened(compute(catalogue, artifact, tmp_path / "states"), artifact)
    (found,) = file.get_many(keys_of([{}], artifact))
    assert found is not None
    assert found.tokens.shape == (2, 12)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv.gz", write_csv),
        ("a.tsv", write_csv),
        ("a.jsonl", write_jsonl),
        ("a.ndjson", write_jsonl),
        ("a.parquet", write_parquet),
    ],
)
def test_a_catalogue_may_be_of_any_format(artifact: Path, catalogue: Path, tmp_path: Path, name: str, write) -> None:
    expected = compute(catalogue, artifact, tmp_path / "csv").read_bytes()
    other = write(tmp_path / name, made_up())
    assert compute(other, artifact, tmp_path / "other").read_bytes() == expected


def test_columns_may_have_other_names(artifact: Path, catalogue: Path, tmp_path: Path) -> None:
    expected = compute(catalogue, artifact, tmp_path / "states").read_bytes()
    renamed = [{"name, short": each["title"], "maker": each["brand"]} for each in made_up()]
    other = write_csv(tmp_path / "renamed.csv", renamed)
    columns = parse_columns("title=name, short,brand=maker")
    assert compute(other, artifact, tmp_path / "other", columns=columns).read_bytes() == expected


@pytest.mark.parametrize("text", ["", "title", "title=", "name=title", "title=a,title=b", "title=a,name=b=c,=d"])
def test_columns_are_named_by_product_fields(text: str) -> None:
    if text.startswith("title=a,name"):
        assert parse_columns(text) == {"title": "a,name=b=c,=d"}
        return
    with pytest.raises(ValueError, match="expected FIELD=COLUMN"):
        parse_columns(text)


def test_json_lines_are_searched_for_a_field_that_comes_late(artifact: Path, tmp_path: Path) -> None:
    late = [{"title": f"lamp {number}"} for number in range(9000)] + [{"title": "lamp", "brand": "acme"}]
    path = write_jsonl(tmp_path / "late.jsonl", late)
    assert open_catalogue(path, ["title", "brand", "color"]).columns == {"title": "title", "brand": "brand"}


def test_a_catalogue_without_one_of_the_fields_says_which_columns_it_has(artifact: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [{"name": "lamp"}])
    with pytest.raises(ExportError, match=r"expected columns called title, brand, found id, name; .*title=COLUMN"):
        compute(path, artifact, tmp_path / "states")
    with pytest.raises(ExportError, match="the model reads title, brand of a product"):
        compute(path, artifact, tmp_path / "states", columns={"color": "name"})


def test_a_field_that_the_catalogue_lacks_is_told(artifact: Path, tmp_path: Path) -> None:
    path, lines = write_csv(tmp_path / "a.csv", [{"title": "lamp"}]), []
    compute_states(path, artifact, tmp_path / "states", say=lines.append)
    assert any(line.startswith("without brand, which the model reads too") for line in lines)


def test_a_text_that_stands_in_several_rows_is_written_once(artifact: Path, tmp_path: Path) -> None:
    products = made_up(30)
    path = write_csv(tmp_path / "a.csv", [*products, *products, {"title": products[0]["title"] + " ", "brand": ""}])
    report = compute_states(path, artifact, tmp_path / "states", say=silent)
    once = compute(write_csv(tmp_path / "b.csv", products), artifact, tmp_path / "once")
    assert report.products == 30
    assert report.repeated == 30 + (products[0]["brand"] == "")
    assert report.path.read_bytes() == once.read_bytes()


def test_a_changed_character_of_a_title_finds_no_state(artifact: Path, catalogue: Path, tmp_path: Path) -> None:
    file = opened(compute(catalogue, artifact, tmp_path / "states"), artifact)
    products = [{**product, "title": product["title"] + "x"} for product in made_up()[:50]]
    assert file.get_many(keys_of(products, artifact)) == [None] * 50
    assert file.corrupted == 0


def test_another_artifact_has_a_file_of_its_own_and_refuses_this_one(
    artifact: Path, catalogue: Path, tmp_path: Path
) -> None:
    build_split_artifact(tmp_path / "other", tmp_path / "parts", seed=5)
    path = compute(catalogue, artifact, tmp_path / "states")
    other = compute(catalogue, tmp_path / "other", tmp_path / "states")
    assert path != other
    with pytest.raises(StatesError, match="expected the states of version"):
        opened(path, tmp_path / "other")


def test_an_artifact_that_only_interacts_otherwise_uses_the_same_file(artifact: Path, tmp_path: Path) -> None:
    build_split_artifact(tmp_path / "other", tmp_path / "parts", interaction_seed=5)
    one, other = (load_artifact(folder).manifest for folder in (artifact, tmp_path / "other"))
    assert one.version != other.version
    assert states_version(one, one.variant("cpu-int8")) == states_version(other, other.variant("cpu-int8"))


def test_a_cross_encoder_and_a_variant_that_is_not_there_are_refused(
    artifact: Path, catalogue: Path, tmp_path: Path
) -> None:
    build_tiny_artifact(tmp_path / "cross-encoder", tmp_path)
    with pytest.raises(ExportError, match="a cross-encoder model keeps no states of products"):
        compute(catalogue, tmp_path / "cross-encoder", tmp_path / "states")
    with pytest.raises(ExportError, match="expected a variant cpu-int4 for CPU; it has cpu-fp32, cpu-int8"):
        compute(catalogue, artifact, tmp_path / "states", variant="cpu-int4")
    assert not (tmp_path / "states").exists()


def test_a_catalogue_without_products_is_refused(artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("title\n")
    with pytest.raises(ExportError, match="expected products, found none"):
        compute(path, artifact, tmp_path / "states")
    assert list((tmp_path / "states").iterdir()) == []


def test_a_broken_row_is_named_and_what_was_computed_stays(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path / "a.csv", [{"title": f"lamp {number}"} for number in range(9000)])
    whole = path.read_text()
    path.write_text(whole + "1,2,3\n")
    assert main(["states", str(path), str(artifact), str(tmp_path / "states")]) == 1
    assert f"export: {path}, line 9002: more values than the header has columns" in capsys.readouterr().err
    (partial,) = (tmp_path / "states").iterdir()
    assert partial.name.endswith(".states.partial")
    path.write_text(whole)
    expected = compute(path, artifact, tmp_path / "at-once").read_bytes()
    assert compute(path, artifact, tmp_path / "states").read_bytes() == expected


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_catalogue_that_is_not_there_or_is_no_catalogue_is_refused_in_a_sentence(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["states", str(tmp_path / name), str(artifact), str(tmp_path / "states")]) == 1
    assert "expected a catalogue, found no such file" in capsys.readouterr().err
    (tmp_path / name).write_bytes(b"\xff\xfe\x00title")
    assert main(["states", str(tmp_path / name), str(artifact), str(tmp_path / "states")]) == 1
    assert str(tmp_path / name) in capsys.readouterr().err


def stopped_after(appends: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is interrupted, as by Ctrl-C, once it has appended so often."""
    append, done = StatesWriter.append, []

    def interrupted(self: StatesWriter, found: object) -> None:
        if len(done) == appends:
            raise KeyboardInterrupt
        done.append(True)
        append(self, found)

    monkeypatch.setattr(StatesWriter, "append", interrupted)


@pytest.mark.usefixtures("_small_windows")
def test_a_stop_says_how_to_go_on_and_what_goes_on_makes_the_same_bytes(
    artifact: Path,
    catalogue: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = compute(catalogue, artifact, tmp_path / "at-once").read_bytes()
    command = ["states", str(catalogue), str(artifact), str(tmp_path / "states")]
    with monkeypatch.context() as patched:
        stopped_after(20, patched)
        assert main(command) == 130
    assert "export: stopped; the same command goes on from the last whole product" in capsys.readouterr().err
    assert main(command) == 0
    printed = capsys.readouterr()
    (file,) = (tmp_path / "states").iterdir()
    assert file.read_bytes() == expected
    assert "going on after 156 products; 0 bytes of a torn end were cut off" in printed.err
    mean = round(len(expected) / PRODUCTS)
    assert f"{file}: 700 products\nstates version {file.stem}, {mean} bytes a product" in printed.out


@pytest.mark.usefixtures("_small_windows")
def test_a_torn_end_at_any_place_makes_the_same_bytes(artifact: Path, catalogue: Path, tmp_path: Path) -> None:
    path = compute(catalogue, artifact, tmp_path / "states")
    expected = path.read_bytes()
    records_end = len(expected) - FOOTER_BYTES - PRODUCTS * INDEX_ENTRY_BYTES
    torn = random.Random(3)
    cuts = [0, 17, HEADER_BYTES, records_end, len(expected)]
    for cut in [*cuts, *(torn.randrange(HEADER_BYTES, len(expected)) for _ in range(12))]:
        path.with_name(path.name + ".partial").write_bytes(expected[:cut])
        path.unlink()
        compute(catalogue, artifact, tmp_path / "states")
        assert path.read_bytes() == expected


@pytest.mark.usefixtures("_small_windows")
def test_what_is_kept_is_not_computed_again(
    artifact: Path, catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stopped_after(40, patched)
        with pytest.raises(KeyboardInterrupt):
            compute(catalogue, artifact, tmp_path / "states")
    computed: list[int] = []
    encode = ProductEncoder.states

    def counting(self: ProductEncoder, products: list) -> list:
        computed.append(len(products))
        return encode(self, products)

    monkeypatch.setattr(ProductEncoder, "states", counting)
    compute(catalogue, artifact, tmp_path / "states")
    written = 3 * 100 + 8  # 13 batches of a window, and one of the fourth
    assert sum(computed) == PRODUCTS - written


@pytest.mark.usefixtures("_small_windows")
def test_batches_are_of_products_of_about_the_same_length(artifact: Path) -> None:
    tokenizer = load_artifact(artifact).tokenizer
    products = [(number.to_bytes(16), product) for number, product in enumerate(made_up(200))]
    lengths = [len(ids) for _, batch in states._batches(iter(products), tokenizer, set()) for ids in batch]
    assert lengths[:100] == sorted(lengths[:100])
    assert lengths[100:] == sorted(lengths[100:])


@pytest.mark.usefixtures("_small_windows")
def test_a_batch_that_is_kept_in_part_is_computed_whole(artifact: Path) -> None:
    tokenizer = load_artifact(artifact).tokenizer
    products = [(number.to_bytes(16), product) for number, product in enumerate(made_up(150))]
    whole = [keys for keys, _ in states._batches(iter(products), tokenizer, set())]
    kept = {*whole[0], *whole[1], *whole[2][:3], *whole[13]}
    left = [keys for keys, _ in states._batches(iter(products), tokenizer, kept)]
    assert left == [*whole[2:13], *whole[14:]]
    assert kept == set(whole[2][:3])


def test_what_is_kept_stays_though_the_catalogue_changed(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = made_up(60), made_up(90, seed=2)
    with monkeypatch.context() as patched:
        stopped_after(4, patched)
        with pytest.raises(KeyboardInterrupt):
            compute(write_csv(tmp_path / "a.csv", old), artifact, tmp_path / "states")
    lines: list[str] = []
    report = compute_states(write_csv(tmp_path / "b.csv", new), artifact, tmp_path / "states", say=lines.append)
    kept = report.products - 90
    assert 0 < kept <= 32
    assert f"{kept} products that an earlier run computed are not in this catalogue, and stay" in lines
    file = opened(report.path, artifact)
    assert None not in file.get_many(keys_of(new, artifact))
    assert 60 - file.get_many(keys_of(old, artifact)).count(None) >= kept


BLOCKED = """
import os, sys
from artifact.states_writer import StatesWriter
from export.__main__ import main
append, done = StatesWriter.append, []
def torn(self, found):
    done.append(True)
    if len(done) == 30:
        os.write(self._file, self._format.write(*found[0])[:50])
        print("in the middle of a record", flush=True)
        sys.stdin.readline()
    append(self, found)
StatesWriter.append = torn
main(sys.argv[1:])
"""


def test_a_process_killed_in_the_middle_and_started_again_makes_the_same_bytes(
    artifact: Path, catalogue: Path, tmp_path: Path
) -> None:
    expected = compute(catalogue, artifact, tmp_path / "at-once").read_bytes()
    folder = tmp_path / "states"
    command = [sys.executable, "-c", BLOCKED, "states", str(catalogue), str(artifact), str(folder)]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"in the middle of a record\n"
        with pytest.raises(StatesError, match="another process is writing it"):
            compute(catalogue, artifact, folder)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert child.returncode == -signal.SIGKILL
    lines: list[str] = []
    report = compute_states(catalogue, artifact, folder, say=lines.append)
    assert "going on after 232 products; 50 bytes of a torn end were cut off" in lines
    assert report.path.read_bytes() == expected
    assert list(folder.iterdir()) == [report.path]


SMALL_DISK = """
import resource, sys
from export.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


def test_a_full_disk_ends_in_a_sentence_and_nothing_is_lost(artifact: Path, catalogue: Path, tmp_path: Path) -> None:
    old = write_csv(tmp_path / "old.csv", made_up(20, seed=9))
    path = compute(old, artifact, tmp_path / "states")
    before = path.read_bytes()
    expected = compute(catalogue, artifact, tmp_path / "at-once").read_bytes()
    full = HEADER_BYTES + 30_001
    command = [sys.executable, "-c", SMALL_DISK, str(full), "states", str(catalogue), str(artifact), str(path.parent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "File too large; the same command goes on from the last whole product" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before
    assert path.with_name(path.name + ".partial").stat().st_size == full
    assert compute(catalogue, artifact, tmp_path / "states").read_bytes() == expected


def test_a_long_catalogue_is_read_a_window_at_a_time_and_encoded_a_few_batches_ahead(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "WINDOW", 64)
    model = load_artifact(artifact)
    read: list[int] = []

    def endless():
        while True:
            read.append(1)
            yield os.urandom(16), {"title": "lamp"}

    encoder = ProductEncoder(model, model.manifest.variant("cpu-int8"))
    results = states._encoded(states._batches(endless(), model.tokenizer, set()), encoder)
    ahead = 2 * len(os.sched_getaffinity(0)) * states.BATCH + states.BATCH
    for batch in range(1, 30):
        assert len(next(results)) == states.BATCH
        assert sum(read) <= batch * states.BATCH + ahead + 64
    results.close()


def test_a_finished_file_is_where_the_service_looks_for_it(artifact: Path, catalogue: Path, tmp_path: Path) -> None:
    report = compute_states(catalogue, artifact, tmp_path / "states", say=silent)
    assert report.path == states_path(tmp_path / "states", report.states_version)
    assert report.file_bytes == report.path.stat().st_size


def test_progress_says_what_is_done_how_fast_and_how_long_the_rest_takes() -> None:
    times, lines = iter([0.0, EVERY_S / 2, EVERY_S, EVERY_S + 1, 2 * EVERY_S, 3 * EVERY_S, 4 * EVERY_S]), []
    pace = Pace(lambda: next(times), lines.append)
    pace.add(500, 1500, 1000)
    pace.add(500, 2000, 720_000)
    pace.add(1000, 3000, 720_000)
    pace.add(1000, 4000, 30_000)
    pace.add(0, 4000, 0)
    pace.add(0, 4000, 1000)
    assert lines == [
        "2,000 products, 100 a second, about 2 h 0 min left",
        "4,000 products, 150 a second, about 3 min left",
        "4,000 products, 100 a second",
        "4,000 products, 75 a second, less than a minute left",
    ]


@pytest.mark.parametrize(("name", "write"), [("a.csv", write_csv), ("a.parquet", write_parquet)])
def test_the_rows_to_come_are_guessed_from_the_share_that_was_read(tmp_path: Path, name: str, write) -> None:
    path = write(tmp_path / name, made_up(20_000))
    source = open_catalogue(path, ["title", "brand"])
    assert source.expected_rows == 0
    products = source.products()
    next(products)
    assert source.expected_rows == pytest.approx(20_000, rel=0.05)
    assert 1 + sum(1 for _ in products) == source.expected_rows == 20_000

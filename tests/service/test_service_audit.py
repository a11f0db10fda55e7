"""The sampled audit log, from the answered request to the line."""

import gzip
import json
import shutil
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from artifact.audited import AuditedPair
from artifact.loading import read_manifest
from service.audit.audit import MAX_WAITING_BYTES, Audit
from service.audit.files import AuditFiles
from service.audit.records import Sampled, lines
from service.errors import DeadlineExceededError
from service.job import Job
from service.metrics import Metrics
from service.settings import Settings

from .serving import FakeEngine, GatedEngine, loader_of, running
from .test_service_audit_files import finished, parts, text

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PRODUCTS = [
    {"title": "usb cable", "brand": "acme", "color": "red"},
    {"title": "acme usb charger", "brand": "Acme", "id": "7"},
    {"title": ""},
]


def pairs(folder):
    return [AuditedPair.model_validate_json(line) for path in finished(folder) for line in text(path).splitlines()]


def counted(service_or_metrics, outcome):
    registry = getattr(service_or_metrics, "registry", None) or service_or_metrics.runtime.metrics.registry
    return registry.get_sample_value("shelfscore_audit_pairs_total", {"outcome": outcome}) or 0


def ended(products=PRODUCTS, logits=None, query="usb", request_id="r-1", **more):
    job = Job(
        query,
        products,
        deadline=1.0,
        partial=True,
        request_id=request_id,
        submitted=0.0,
        on_finish=lambda: None,
        **more,
    )
    given = range(len(products)) if logits is None else logits
    scored = [i for i, logit in enumerate(given) if logit is not None]
    job.record(scored, np.array([given[i] for i in scored], np.float32))
    job.end(DeadlineExceededError("the deadline passed"))
    return job


@pytest.fixture
def manifest(tiny_artifact):
    return read_manifest(tiny_artifact)


@pytest.fixture
def served(manifest):
    """A loaded model as `offer` sees it."""
    return SimpleNamespace(name="default", model=SimpleNamespace(manifest=manifest))


@pytest.fixture
def audit(tmp_path):
    metrics = Metrics()
    clock = SimpleNamespace(now=0.0)
    made = Audit(AuditFiles(tmp_path, 1 << 20, lambda: clock.now), 1.0, metrics, lambda: clock.now, lambda: 1.8e9)
    return SimpleNamespace(audit=made, metrics=metrics, clock=clock, folder=tmp_path)


def test_what_was_answered_is_what_is_written(tiny_artifact, tmp_path):
    with running(tiny_artifact, audit_dir=tmp_path, audit_rate=1.0) as service:
        headers = {"x-request-id": "r-9", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-00"}
        answer = service.client.post("/score", json={"query": " usb ", "products": PRODUCTS}, headers=headers)
        assert answer.status_code == 200
    content = answer.json()
    found = pairs(tmp_path)
    assert [pair.position for pair in found] == [0, 1, 2]
    assert [pair.score for pair in found] == content["scores"]
    assert [pair.logit for pair in found] == content["logits"]
    assert {(pair.model, pair.version) for pair in found} == {("tiny", content["model"]["version"])}
    assert {(pair.request_id, pair.trace_id, pair.route, pair.query) for pair in found} == {
        ("r-9", TRACE, "/score", "usb")
    }
    assert found[0].product == {"title": "usb cable", "brand": "acme"}, "the template reads no colour"
    assert found[1].text.product == ("acme usb charger",), "the brand stands in the title"
    assert found[2].product == {}
    assert counted(service, "written") == 3


def test_one_of_two_replicas_samples_what_the_other_does_and_the_share_is_that_of_the_setting(tiny_artifact, tmp_path):
    ids = [f"request-{i}" for i in range(300)]
    found = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        with running(tiny_artifact, load=loader_of(FakeEngine()), audit_dir=folder, audit_rate=0.2) as service:
            for each in ids:
                body = {"query": "a", "products": [{"title": "1"}]}
                assert service.client.post("/score", json=body, headers={"x-request-id": each}).status_code == 200
        found.append([pair.request_id for pair in pairs(folder)])
    assert found[0] == found[1]
    assert 35 < len(found[0]) < 90


def test_a_product_without_a_score_has_no_line(manifest):
    job = ended(logits=[1.0, None, float("nan")], trace_id=TRACE)
    (line,) = lines(Sampled(job, "default", manifest, 1.8e9))
    assert json.loads(line)["position"] == 0
    assert json.loads(line)["time"] == "2027-01-15T08:00:00.000+00:00"


def test_a_title_as_long_as_a_body_is_cut(manifest):
    (line,) = lines(Sampled(ended([{"title": "x" * 1_000_000}]), "default", manifest, 1.8e9))
    assert len(AuditedPair.model_validate_json(line).product["title"]) == 4000
    assert len(line) < 10_000


def test_line_breaks_in_texts_break_no_line(manifest):
    job = ended([{"title": "a\nb\r\u2028c"}], query="q\nr")
    (line,) = lines(Sampled(job, "default", manifest, 1.8e9))
    assert line.count(b"\n") == 1
    assert AuditedPair.model_validate_json(line).product["title"] == "a\nb\r\u2028c"


def test_pairs_beyond_the_queue_are_dropped_and_counted(audit, served):
    for request in range(3):
        audit.audit.offer(ended(request_id=f"r{request}"), served, MAX_WAITING_BYTES // 2)
    audit.audit.handover.work_off()
    audit.audit.stop()
    assert len(pairs(audit.folder)) == 6
    assert (counted(audit.metrics, "written"), counted(audit.metrics, "dropped")) == (6, 3)


def test_offering_writes_nothing_by_itself(audit, served):
    audit.audit.offer(ended(), served, 10)
    assert not list(audit.folder.iterdir())


def test_a_request_that_cannot_be_written_costs_its_own_pairs_alone(audit, served, caplog):
    broken = ended([{"title": "a"}, {"title": "\ud800"}], request_id="broken")
    for job in (ended(), broken, ended(request_id="r-2")):
        audit.audit.offer(job, served, 10)
    audit.audit.handover.work_off()
    audit.audit.stop()
    assert {pair.request_id for pair in pairs(audit.folder)} == {"r-1", "r-2"}
    assert (counted(audit.metrics, "written"), counted(audit.metrics, "dropped")) == (6, 2)
    assert "cannot be written to the audit files" in caplog.text


def test_a_folder_that_is_gone_drops_pairs_complains_once_a_minute_and_goes_on(audit, served, caplog):
    aside = audit.folder.with_name("aside")
    audit.folder.rename(aside)
    for audit.clock.now in (0.0, 1.0, 59.0, 60.0):
        audit.audit.offer(ended(), served, 10)
        audit.audit.handover.work_off()
    assert counted(audit.metrics, "dropped") == 12
    assert caplog.text.count("pairs are dropped") == 2
    aside.rename(audit.folder)
    audit.audit.offer(ended(), served, 10)
    audit.audit.handover.work_off()
    audit.audit.stop()
    assert len(pairs(audit.folder)) == 3


def test_a_slow_writer_holds_up_no_request(tiny_artifact, tmp_path, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()
    write = AuditFiles.write

    def hang(self, block):
        entered.set()
        assert go_on.wait(60)
        write(self, block)

    monkeypatch.setattr(AuditFiles, "write", hang)
    with running(tiny_artifact, audit_dir=tmp_path, audit_rate=1.0) as service:
        assert service.score("usb").status_code == 200
        assert entered.wait(60)
        for _ in range(10):
            assert service.score("usb").status_code == 200
        go_on.set()
    assert len(pairs(tmp_path)) == 11


def test_a_finished_file_is_a_gzip_of_lines_for_any_reader(tiny_artifact, tmp_path):
    with running(tiny_artifact, audit_dir=tmp_path, audit_rate=1.0) as service:
        service.score("usb", "hose")
    (path,) = finished(tmp_path)
    with gzip.open(path, "rt") as file:
        assert [json.loads(line)["product"]["title"] for line in file] == ["usb", "hose"]
    assert not parts(tmp_path)


def test_nothing_is_written_without_the_setting_or_for_a_request_that_failed(tiny_artifact, tmp_path):
    assert Settings().audit_dir is None
    engine = GatedEngine()
    with running(tiny_artifact, load=loader_of(engine), audit_dir=tmp_path, audit_rate=1.0) as service:
        late = service.score("1", timeout_ms=20)
        engine.open()
        assert late.status_code == 504
        assert service.score("broken").status_code == 500
        assert service.score("1", price=3).status_code == 422
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_folder_that_cannot_be_written_to_is_refused_at_the_start(tmp_path, kind):
    path = tmp_path / "audit"
    if kind == "file":
        path.touch()
    with pytest.raises(ValueError, match="expected an existing folder that this process may write to"):
        Settings(audit_dir=path)


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("this user may mount nothing here; a limit of file sizes stands in, in test_service_audit_files")
    yield folder
    subprocess.run([shutil.which("umount"), folder], check=True)


def test_the_service_goes_on_when_the_disk_is_full(tiny_artifact, tiny_disk):
    titles = [np.random.default_rng(i).bytes(1500).hex() for i in range(60)]
    (tiny_disk / "other").write_bytes(b"x" * 40_000)
    with running(tiny_artifact, audit_dir=tiny_disk, audit_rate=1.0) as service:
        for title in titles:
            assert service.score(title).status_code == 200
        service.wait_until(lambda: counted(service, "written") + counted(service, "dropped") == len(titles))
        assert counted(service, "dropped") > 0
        (tiny_disk / "other").unlink()
        assert service.score("usb").status_code == 200
    found = pairs(tiny_disk)
    assert found[-1].product["title"] == "usb"
    assert len(found) == counted(service, "written")
    assert isinstance(tiny_disk, Path)

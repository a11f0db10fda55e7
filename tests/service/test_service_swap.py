"""Models that are replaced while requests go on."""

import concurrent.futures
import json
import logging
import shutil
import threading

import pytest

from artifact.loading import read_manifest
from artifact.manifest import derive_version
from service.model import load_model

from .serving import point, running

POLL_MS = 20
TITLES = tuple(f"usb cable {i} with red case {i * i}" for i in range(24))


@pytest.fixture
def broken(tmp_path, other_artifact):
    """A copy of the other artifact, for a test to damage."""
    return shutil.copytree(other_artifact, tmp_path / "broken")


@pytest.fixture(scope="module")
def alone(tiny_artifact, other_artifact):
    """Version -> title -> (score, logit) as a server of that artifact alone gives them."""
    found = {}
    for folder in (tiny_artifact, other_artifact):
        with running(folder) as service:
            answer = service.score(*TITLES).json()
        pairs = zip(answer["scores"], answer["logits"], strict=True)
        found[answer["model"]["version"]] = dict(zip(TITLES, pairs, strict=True))
    first, second = found.values()
    assert all(abs(first[title][i] - second[title][i]) > 1e-3 for title in TITLES for i in (0, 1))
    return found


def swaps(service, outcome, model="tiny"):
    return service.metric("model_swaps_total", model=model, outcome=outcome)


def events(caplog, message):
    return [record.fields for record in caplog.records if record.getMessage().startswith(message)]


def version_of(service):
    return service.score("usb").json()["model"]["version"]


class Loads:
    """Loads for real, in so many steps as a test lets through."""

    def __init__(self, *, held: bool = False) -> None:
        self.folders = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0 if held else 10_000)

    def __call__(self, settings, metrics):
        self.folders.append(settings.model_dir)
        self.begun.release()
        assert self.gate.acquire(timeout=60)
        return load_model(settings, metrics)

    def wait_until_begun(self):
        assert self.begun.acquire(timeout=60)


def test_swaps_under_load_fail_no_request_and_mix_no_versions(current, tiny_artifact, other_artifact, alone):
    stop = threading.Event()
    seen = []

    def ask(service, worker):
        count = 0
        while not stop.is_set():
            titles = [TITLES[(worker + count + i) % len(TITLES)] for i in range(1 + count % 20)]
            answer = service.score(*titles)
            assert answer.status_code == 200, answer.text
            body = answer.json()
            version = body["model"]["version"]
            assert answer.headers["x-model-version"] == version
            for title, score, logit in zip(titles, body["scores"], body["logits"], strict=True):
                assert (score, logit) == pytest.approx(alone[version][title], abs=1e-4)
            seen.append(version)
            count += 1
        return count

    with (
        running(current, model_poll_ms=POLL_MS, score_cache_bytes=1_000_000) as service,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        answered = [pool.submit(ask, service, worker) for worker in range(4)]
        try:
            for turn in range(1, 7):
                before = len(seen)
                service.wait_until(lambda before=before: len(seen) > before + 8 or any(a.done() for a in answered))
                point(current, other_artifact if turn % 2 else tiny_artifact)
                service.wait_until(lambda turn=turn: swaps(service, "swapped") == turn)
                assert service.client.get("/health/ready").status_code == 200
        finally:
            stop.set()
        assert sum(each.result(60) for each in answered) == len(seen)
        assert set(seen) == set(alone)
        assert swaps(service, "failed") == 0


def test_after_a_swap_everything_shows_the_other_version(current, other_artifact, caplog):
    caplog.set_level(logging.INFO)
    with running(current, model_poll_ms=POLL_MS) as service:
        before = version_of(service)
        point(current, other_artifact)
        # Requests go on: the queue remembers the last one that it gave work of.
        service.wait_until(lambda: service.score("usb").is_success and bool(events(caplog, "old model released")))
        after = read_manifest(other_artifact).version
        answer = service.score("usb")
        assert answer.json()["model"] == {"name": "tiny", "version": after}
        (listed,) = service.client.get("/models").json()["models"]
        assert (listed["name"], listed["manifest_name"], listed["version"]) == ("tiny", "other", after)
        assert service.score("usb", model="tiny").status_code == 200
        assert service.score("usb", model="other").status_code == 404
        labels = {"name": "tiny", "architecture": "cross-encoder", "variant": "cpu-int8", "precision": "int8"}
        assert service.metric("model_info", version=after, **labels) == 1
        assert f'version="{before}"' not in service.client.get("/metrics").text
        assert service.metric("model_last_swap_timestamp_seconds", model="tiny", outcome="swapped") > 1.7e9
    (fields,) = events(caplog, "model swapped")
    assert (fields["model"], fields["old_version"], fields["version"]) == ("tiny", before, after)
    assert fields["folder"] == str(other_artifact)


def cut_json(folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:-100])


def miss_a_file(folder):
    (folder / "model-int8.onnx").unlink()


def change_a_byte(folder):
    path = folder / "model-int8.onnx"
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def shift_a_golden_logit(folder):
    path = folder / "manifest.json"
    contents = json.loads(path.read_text())
    contents["golden_pairs"][0]["logits"]["cpu-int8"] += 1
    contents["version"] = derive_version(contents)
    path.write_text(json.dumps(contents))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_json, "manifest.json: expected JSON"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json: expected a manifest"),
        (miss_a_file, "model-int8.onnx: expected the file that the manifest lists"),
        (change_a_byte, "model-int8.onnx: expected sha256"),
        (shift_a_golden_logit, "the golden pair of query 'usb charger' scored alone gave"),
        (shutil.rmtree, "expected an artifact folder"),
    ],
    ids=["cut", "no-manifest", "no-file", "hash", "golden", "no-folder"],
)
@pytest.mark.parametrize("by", ["link", "signal"])
def test_a_broken_artifact_leaves_the_loaded_one_and_says_why(
    current, tiny_artifact, other_artifact, broken, damage, reason, by, caplog
):
    damage(broken)
    with running(current, model_poll_ms=POLL_MS if by == "link" else 0) as service:

        def swap_to(folder):
            point(current, folder)
            if by == "signal":
                service.call(service.runtime.reload)

        swap_to(broken)
        service.wait_until(lambda: swaps(service, "failed") == 1)
        (fields,) = events(caplog, "model not swapped, the loaded one goes on: ")
        (line,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
        assert reason in line
        loaded = read_manifest(tiny_artifact).version
        assert fields == {"model": "tiny", "version": loaded, "folder": str(broken)}
        assert version_of(service) == loaded
        assert service.client.get("/health/ready").status_code == 200
        assert service.metric("model_last_swap_timestamp_seconds", model="tiny", outcome="failed") > 1.7e9
        swap_to(other_artifact)
        service.wait_until(lambda: swaps(service, "swapped") == 1)
        assert version_of(service) == read_manifest(other_artifact).version
        assert swaps(service, "failed") == 1


def test_a_fault_of_ours_while_loading_leaves_the_loaded_model_too(current, other_artifact, caplog):
    def load(settings, metrics):
        if read_manifest(settings.model_dir).name == "other":
            raise MemoryError
        return load_model(settings, metrics)

    with running(current, load=load, model_poll_ms=POLL_MS) as service:
        point(current, other_artifact)
        service.wait_until(lambda: swaps(service, "failed") == 1)
        assert version_of(service) != read_manifest(other_artifact).version
    assert "the loaded one goes on: MemoryError" in caplog.text
    assert "Traceback" in caplog.text


def test_a_storm_of_reloads_is_one_load_at_a_time_and_the_last_state_wins(
    tmp_path, current, tiny_artifact, other_artifact
):
    middle = shutil.copytree(tiny_artifact, tmp_path / "middle")
    contents = json.loads((middle / "manifest.json").read_text())
    contents["lineage"]["created"] = "2026-01-02"
    contents["version"] = derive_version(contents)
    (middle / "manifest.json").write_text(json.dumps(contents))
    loads = Loads()
    with running(current, load=loads, model_poll_ms=0) as service:
        loads.gate = threading.Semaphore(0)
        loads.wait_until_begun()
        point(current, middle)
        for _ in range(50):
            service.call(service.runtime.reload)
        loads.wait_until_begun()
        for folder in (tiny_artifact, middle, other_artifact):
            point(current, folder)
            for _ in range(50):
                service.call(service.runtime.reload)
        assert service.client.get("/health/ready").status_code == 200
        assert version_of(service) == read_manifest(tiny_artifact).version
        loads.gate.release(2)
        service.wait_until(lambda: swaps(service, "swapped") == 2)
        assert version_of(service) == read_manifest(other_artifact).version
    assert loads.folders == [tiny_artifact, middle, other_artifact]


def test_an_unchanged_version_is_not_loaded_again(current, tiny_artifact, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    loads = Loads()
    same = shutil.copytree(tiny_artifact, tmp_path / "same")
    with running(current, load=loads, model_poll_ms=POLL_MS) as service:
        service.call(service.runtime.reload)
        service.wait_until(lambda: swaps(service, "unchanged") == 1)
        point(current, same)
        service.wait_until(lambda: swaps(service, "unchanged") == 2)
        assert version_of(service) == read_manifest(tiny_artifact).version
    assert loads.folders == [tiny_artifact]
    assert len(events(caplog, "model not swapped, its version is unchanged")) == 2


def test_a_reload_asked_for_while_loading_comes_after_it(current, other_artifact):
    loads = Loads(held=True)
    with running(current, load=loads, model_poll_ms=0, ready=False) as service:
        loads.wait_until_begun()
        point(current, other_artifact)
        for _ in range(10):
            service.call(service.runtime.reload)
        loads.gate.release(10)
        service.wait_until(lambda: swaps(service, "swapped") == 1)
        assert version_of(service) == read_manifest(other_artifact).version
    assert len(loads.folders) == 2


def test_while_draining_no_model_is_swapped(current, other_artifact, caplog):
    caplog.set_level(logging.INFO)
    loads = Loads()
    with running(current, load=loads, model_poll_ms=0) as service:
        loads.gate = threading.Semaphore(0)
        loads.wait_until_begun()
        point(current, other_artifact)
        service.call(service.runtime.reload)
        loads.wait_until_begun()
        service.call(service.runtime.drain)
        service.call(service.runtime.reload)
        loads.gate.release(10)
        (listed,) = service.client.get("/models").json()["models"]
        assert listed["manifest_name"] == "tiny"
    assert "no model is swapped: the service is stopping" in caplog.text
    assert events(caplog, "model not swapped, the service is stopping")
    assert not events(caplog, "model swapped")
    assert len(loads.folders) == 2


def test_a_swap_that_breaks_off_does_not_end_swapping(current, tiny_artifact, other_artifact, caplog):
    with running(current, model_poll_ms=POLL_MS) as service:
        swapper = service.runtime._swapper
        settle, swapper._on_settled = swapper._on_settled, lambda: 1 / 0
        point(current, other_artifact)
        service.wait_until(lambda: "a swap broke off" in caplog.text)
        assert version_of(service) == read_manifest(other_artifact).version
        swapper._on_settled = settle
        point(current, tiny_artifact)
        service.wait_until(lambda: swaps(service, "swapped") == 2)
        assert version_of(service) == read_manifest(tiny_artifact).version

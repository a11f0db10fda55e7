"""Split models behind the HTTP interface: states files, swaps, metrics, and what else a model must do."""

import concurrent.futures
import gc
import json
import logging
import shutil
import threading
import weakref

import pytest

from artifact import load_artifact
from artifact.loading import read_manifest, sha256_of
from artifact.manifest import derive_version
from artifact.product_states import states_version
from artifact.states_file import states_path

from ..split_model import build_split_artifact
from .serving import point, running
from .split_serving import titled, write_states

POLL_MS = 20
TITLES = tuple(f"usb cable {i} with red case {i * i}" for i in range(24))


def sources(service):
    return {each: service.metric("product_states_total", source=each) for each in ("memory", "file", "fresh")}


def added(before, after):
    return {each: after[each] - before[each] for each in after}


def logits_of(service, *titles, **fields):
    answer = service.score(*titles, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["logits"]


def test_scores_are_the_same_encoded_from_memory_and_from_the_file_and_each_is_counted(split_artifact, tmp_path):
    write_states(tmp_path, split_artifact, titled(*TITLES[:10]))
    with running(split_artifact) as service:
        before = sources(service)
        fresh = logits_of(service, *TITLES)
        assert added(before, sources(service)) == {"memory": 0, "file": 0, "fresh": len(TITLES)}
        assert logits_of(service, *TITLES) == pytest.approx(fresh, abs=1e-4)
        assert added(before, sources(service)) == {"memory": len(TITLES), "file": 0, "fresh": len(TITLES)}
        assert [logits_of(service, title)[0] for title in TITLES] == pytest.approx(fresh, abs=1e-4)
        assert service.metric("kept_products") == len(TITLES)
        assert service.metric("kept_bytes") > len(TITLES) * 500
        assert service.metric("product_encoding_duration_seconds_count") > 0
    with running(split_artifact, states=tmp_path) as service:
        before = sources(service)
        assert logits_of(service, *TITLES) == pytest.approx(fresh, abs=1e-4)
        assert added(before, sources(service)) == {"memory": 0, "file": 10, "fresh": len(TITLES) - 10}


@pytest.mark.parametrize("options", [{"state_cache_bytes": 0}, {"score_cache_bytes": 1_000_000}, {"batch_wait_ms": 5}])
def test_scores_are_the_same_whatever_the_settings_are(split_artifact, options):
    with running(split_artifact) as plain, running(split_artifact, **options) as service:
        expected = logits_of(plain, *TITLES)
        for _ in range(2):
            assert logits_of(service, *TITLES) == pytest.approx(expected, abs=1e-4)
        partial = logits_of(service, *(f"{title} more" for title in TITLES * 4), partial=True)
        assert None not in partial


def test_the_models_page_says_which_states_a_model_takes_and_whether_it_has_a_file(split_artifact, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write_states(tmp_path, split_artifact, titled(*TITLES))
    artifact = load_artifact(split_artifact)
    version = states_version(artifact.manifest, artifact.manifest.variant("cpu-int8"))
    with running(split_artifact, states=tmp_path) as service:
        (listed,) = service.client.get("/models").json()["models"]
    assert listed["architecture"] == "split"
    layout = {"precision": "int8", "width": 12, "pooled_width": 12}
    assert listed["states"] == {"version": version, "layout": layout, "file_products": len(TITLES)}
    (fields,) = [record.fields for record in caplog.records if record.getMessage() == "states file in use"]
    assert fields["products"] == len(TITLES)
    with running(split_artifact, states=tmp_path / "nothing") as service:
        (listed,) = service.client.get("/models").json()["models"]
    assert listed["states"]["file_products"] is None
    assert "no states file: products are encoded as they come" in caplog.text


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-10])


def no_states(path):
    path.write_bytes(b"something else")


def no_file(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(("damage", "reason"), [(cut_short, "damaged"), (no_states, "damaged"), (no_file, None)])
def test_a_damaged_file_is_refused_logged_and_counted_and_the_service_works_without(
    split_artifact, tmp_path, caplog, damage, reason
):
    damage(write_states(tmp_path, split_artifact, titled(*TITLES)))
    with running(split_artifact, states=tmp_path) as service:
        logits_of(service, *TITLES)
        assert sources(service)["file"] == 0
        reasons = [reason] if reason is not None else ["unreadable", "damaged"]
        assert sum(service.metric("refused_states_files_total", reason=each) for each in reasons) == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith("a states file was refused: ")


def test_the_file_of_another_artifact_is_refused_even_under_the_right_name(
    split_artifact, other_split_artifact, tmp_path, caplog
):
    artifact = load_artifact(split_artifact)
    version = states_version(artifact.manifest, artifact.manifest.variant("cpu-int8"))
    write_states(tmp_path, other_split_artifact, titled(*TITLES)).rename(states_path(tmp_path, version))
    with running(split_artifact) as service:
        expected = logits_of(service, *TITLES)
    with running(split_artifact, states=tmp_path) as service:
        assert logits_of(service, *TITLES) == pytest.approx(expected, abs=1e-4)
        assert sources(service)["file"] == 0
        assert service.metric("refused_states_files_total", reason="other_states") == 1
    assert "expected the states of version" in caplog.text


@pytest.fixture(scope="module")
def joined_otherwise(tmp_path_factory):
    """The states of the split artifact, and other scores from them."""
    folder = tmp_path_factory.mktemp("split")
    build_split_artifact(folder / "artifact", folder / "parts", interaction_seed=1)
    return folder / "artifact"


@pytest.fixture(scope="module")
def alone(split_artifact, other_split_artifact, joined_otherwise):
    """Version -> title -> logit, as a server of that artifact alone gives it."""
    found = {}
    for folder in (split_artifact, other_split_artifact, joined_otherwise):
        with running(folder) as service:
            logits = logits_of(service, *TITLES)
        found[read_manifest(folder).version] = dict(zip(TITLES, logits, strict=True))
    first, second, third = found.values()
    for one, other in ((first, second), (first, third), (second, third)):
        assert all(abs(one[title] - other[title]) > 1e-3 for title in TITLES)
    return found


@pytest.mark.parametrize("with_file", [False, True])
def test_swaps_under_load_never_mix_states(
    tmp_path, split_artifact, other_split_artifact, joined_otherwise, alone, with_file
):
    folders = (split_artifact, other_split_artifact, joined_otherwise)
    states = tmp_path / "states"
    if with_file:
        for folder in folders:
            write_states(states, folder, titled(*TITLES[:12]))
    current = tmp_path / "current"
    current.symlink_to(split_artifact)
    stop, seen = threading.Event(), []

    def ask(service, worker):
        count = 0
        while not stop.is_set():
            titles = [TITLES[(worker + count + i) % len(TITLES)] for i in range(1 + count % 20)]
            body = service.score(*titles, partial=count % 2 == 0).json()
            version = body["model"]["version"]
            for title, logit in zip(titles, body["logits"], strict=True):
                assert logit == pytest.approx(alone[version][title], abs=1e-4)
            seen.append(version)
            count += 1

    # A cache for a few products: most are encoded, or read, again and again.
    options = {"model_poll_ms": POLL_MS, "state_cache_bytes": 150_000, "states": states if with_file else None}
    with running(current, **options) as service, concurrent.futures.ThreadPoolExecutor(4) as pool:
        answered = [pool.submit(ask, service, worker) for worker in range(4)]
        try:
            for turn in range(1, 7):
                before = len(seen)
                service.wait_until(lambda before=before: len(seen) > before + 8 or any(a.done() for a in answered))
                point(current, folders[turn % 3])
                service.wait_until(
                    lambda turn=turn: service.metric("model_swaps_total", model="split", outcome="swapped") == turn
                )
        finally:
            stop.set()
        for each in answered:
            each.result(60)
    assert set(seen) == set(alone)


def test_a_swap_takes_the_other_artifacts_own_file(tmp_path, split_artifact, other_split_artifact):
    states = tmp_path / "states"
    write_states(states, other_split_artifact, titled(*TITLES))
    current = tmp_path / "current"
    current.symlink_to(split_artifact)
    with running(current, model_poll_ms=POLL_MS, states=states) as service:
        logits_of(service, *TITLES)
        assert sources(service)["file"] == 0
        point(current, other_split_artifact)
        service.wait_until(lambda: service.metric("model_swaps_total", model="split", outcome="swapped") == 1)
        logits_of(service, *TITLES)
        assert sources(service)["file"] == len(TITLES)


def test_a_swapped_out_split_model_is_freed_with_its_states_and_its_file(tmp_path, split_artifact, tiny_artifact):
    states = tmp_path / "states"
    write_states(states, split_artifact, titled(*TITLES[:5]))
    current = tmp_path / "current"
    current.symlink_to(split_artifact)
    with running(current, model_poll_ms=POLL_MS, states=states) as service:
        logits_of(service, *TITLES)
        slot = service.runtime.registry.slots()[0]
        file = slot.current.model.states_file
        engine = slot.current.model.engine
        gone = [weakref.ref(each) for each in (engine, engine._store, engine._interaction.session)]
        del engine
        point(current, tiny_artifact)
        service.wait_until(lambda: service.metric("model_swaps_total", model="split", outcome="swapped") == 1)
        logits_of(service, *TITLES)
        service.wait_until(lambda: gc.collect() >= 0 and not any(each() is not None for each in gone))
        with pytest.raises(ValueError, match="closed"):
            file.get_many([b"0" * 16])


def test_when_memory_is_short_the_states_go_and_come_back(split_artifact):
    with running(split_artifact) as service:
        expected = logits_of(service, *TITLES)
        service.call(service.runtime.forget)
        assert service.metric("kept_products") == 0
        assert logits_of(service, *TITLES) == pytest.approx(expected, abs=1e-4)
        assert service.metric("kept_products") == len(TITLES)


@pytest.mark.parametrize("split_is_shadow", [True, False])
def test_a_split_model_can_be_shadow_and_be_shadowed(split_artifact, tiny_artifact, split_is_shadow):
    default, shadow = (tiny_artifact, split_artifact) if split_is_shadow else (split_artifact, tiny_artifact)
    name = read_manifest(shadow).name
    with running(default, models=str(shadow), shadow_model=name, shadow_rate=1.0) as service:
        assert logits_of(service, *TITLES) != logits_of(service, *TITLES, model=name)
        service.wait_until(lambda: service.metric("shadow_requests_total", outcome="compared") >= 1)


def test_a_model_whose_product_encoder_misses_the_golden_logits_is_not_served(
    tmp_path, split_artifact, other_split_artifact, caplog
):
    broken = shutil.copytree(split_artifact, tmp_path / "broken")
    shutil.copy(other_split_artifact / "cpu-int8-product.onnx", broken / "cpu-int8-product.onnx")
    replace_hash(broken, "cpu-int8-product.onnx")
    with running(broken, ready=False) as service:
        service.wait_until(lambda: "cannot serve" in caplog.text)
        assert service.score("usb").status_code == 503
    assert "the golden pair of query 'usb charger' scored alone gave" in caplog.text


def replace_hash(folder, file):
    path = folder / "manifest.json"
    contents = json.loads(path.read_text())
    for variant in contents["variants"]:
        part = variant["product_encoder"]
        if part["file"] == file:
            part["sha256"], part["size_bytes"] = sha256_of(folder / file), (folder / file).stat().st_size
    contents["version"] = derive_version(contents)
    path.write_text(json.dumps(contents))

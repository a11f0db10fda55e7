"""What becomes of a model that was swapped out, and of its memory."""

import contextlib
import gc
import logging
import weakref

from artifact.loading import read_manifest
from service.model import Model, load_model
from service.sessions import EngineError

from .serving import FakeEngine, GatedEngine, point, running
from .test_service_swap import POLL_MS, TITLES, events, swaps


def test_a_request_in_work_ends_on_the_model_that_it_began_with(current, other_artifact, caplog):
    caplog.set_level(logging.INFO)
    gated = GatedEngine()

    def load(settings, metrics):
        manifest = read_manifest(settings.model_dir)
        return Model(manifest, manifest.variants[0], gated if manifest.name == "tiny" else FakeEngine())

    with running(current, load=load, model_poll_ms=POLL_MS) as service:
        body = {"query": "usb", "products": [{"title": "1"}]}
        with service.sending("/score", json=body) as first:
            gated.wait_until_entered()
            point(current, other_artifact)
            service.wait_until(lambda: swaps(service, "swapped") == 1)
            after = service.score("2").json()["model"]["version"]
            assert after == read_manifest(other_artifact).version
            assert not events(caplog, "old model released")
            assert service.metric("queued_products") == 1
            gated.open()
            assert first.result(60).json()["model"]["version"] != after
            assert first.result().json()["logits"] == [1.0]
        service.wait_until(lambda: bool(events(caplog, "old model released")))


@contextlib.contextmanager
def frozen():
    """What is there stays uncollected, as in production; nothing else is collected unless a test does it."""
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def test_a_swapped_out_model_is_freed_with_its_session_and_caches(current, other_artifact):
    with running(current, model_poll_ms=POLL_MS, score_cache_bytes=1_000_000) as service, frozen():
        service.score(*TITLES)
        slot = service.runtime.registry.slots()[0]
        scorer, engine = slot.current.scorer, slot.current.model.engine
        parts = (slot.current, scorer, scorer._cache, engine, engine._graph.session, engine._cache, engine._tokenizer)
        gone = [weakref.ref(each) for each in parts]
        del scorer, engine, parts
        assert all(each() is not None for each in gone)
        point(current, other_artifact)
        service.wait_until(lambda: swaps(service, "swapped") == 1 and slot.old is None)
        service.score(*TITLES)
        # Collects what came after the freeze alone: finished requests are cycles.
        service.wait_until(lambda: gc.collect() >= 0 and not any(each() is not None for each in gone))


def test_a_model_that_could_not_be_used_is_freed(current, other_artifact, caplog):
    caplog.set_level(logging.CRITICAL)
    gone = []

    def load(settings, metrics):
        model = load_model(settings, metrics)
        if model.manifest.name == "other":
            gone.append(weakref.ref(model.engine._graph.session))
            raise EngineError("it misses its golden logits")
        return model

    with running(current, load=load, model_poll_ms=POLL_MS) as service, frozen():
        point(current, other_artifact)
        service.wait_until(lambda: swaps(service, "failed") == 1)
        service.wait_until(lambda: gone[0]() is None)


def test_a_model_that_something_holds_on_to_is_reported(current, other_artifact, caplog):
    with running(current, model_poll_ms=POLL_MS) as service:
        held = service.runtime.registry.slots()[0].current.scorer
        point(current, other_artifact)
        service.wait_until(lambda: "something still holds a model that was swapped out" in caplog.text)
        assert held is not None
        point(current, current.resolve().parents[1] / "nowhere")
        service.wait_until(lambda: swaps(service, "failed") == 1)

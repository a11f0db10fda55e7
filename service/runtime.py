"""The life of one replica: loading, ready, draining, stopped. Owns the models, the lanes and their scorers."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from artifact import ArtifactError

from .audit.audit import Audit, make_audit
from .drift.monitor import DriftMonitor
from .drift.references import DriftReferenceError, Saved, read_saved
from .engine import Kept
from .errors import DrainingError, NotReadyError, ServiceError
from .machine import alone_in_cgroup, available_cores, let_others_first, process_age_s, stay_on_core
from .metrics import Metrics
from .model import Model, load_model
from .overload import Overload
from .registry import LoadedModel, ModelNameError, Registry, Slot, follow, read_sources
from .score_cache import ScoreCache
from .scorer import Scorer
from .sessions import EngineError
from .settings import Settings
from .shadow import Shadow
from .swap import Swapper
from .workers import Workers

log = logging.getLogger(__name__)

Loader = Callable[[Settings, Metrics], Model]


class Runtime:
    """State that requests share.

    Args:
        settings: of the service.
        metrics: of the app.
        clock: monotonic, in seconds.
        load: makes the model in the `model_dir` of the settings that it is given; runs in a thread.
        on_failure: told, on the event loop, that a model could not be loaded at the start.
        on_loaded: told, in the loader's thread, that models were loaded, or that one was let go.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float],
        load: Loader = load_model,
        on_failure: Callable[[], None] = lambda: None,
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.clock = clock
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.shadow: Shadow | None = None
        self.drift: DriftMonitor | None = None
        self.audit: Audit | None = make_audit(settings, metrics, clock)
        self.registry: Registry | None = None
        self._load = load
        self._on_failure = on_failure
        self._on_loaded = on_loaded
        self._failure: str | None = None
        self._drift_saved: Saved | None = None
        self._draining = False
        self._reload_asked = False
        self._swapper: Swapper | None = None
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._loading: asyncio.Task[None] | None = None
        self._swapping: list[asyncio.Task[None]] = []
        cuda = settings.device == "cuda"
        cores = available_cores()
        self.lanes = Workers.make(
            settings.lanes or (1 if cuda else cores),
            max(1, cores - 1) if cuda else 0,
            clock,
            metrics,
            lambda predicted_s, taken_s: self.overload.pace.observe(predicted_s, taken_s),
            begin=self._begin_lane,
        )
        self.overload = Overload(
            lanes=lambda: max(1, self.lanes.pairs.alive()),
            micro_batch_s=self._unit_s,
            max_backlog_s=settings.max_backlog_ms / 1000,
            metrics=metrics,
            random_source=random.Random(),
        )
        backlog = self.overload.backlog
        metrics.watch(
            "pace_ratio", "Predicted lane-seconds that get done in a second.", lambda: self.overload.pace.ratio
        )
        metrics.watch(
            "answer_lag_seconds",
            "What admission leaves between a request's last score and its deadline.",
            lambda: self.overload.answer_lag.seconds,
        )
        metrics.watch(
            "admission_headroom_ratio",
            "Times longer than predicted that a request may take and is admitted.",
            lambda: self.overload.headroom.ratio(clock()),
        )
        metrics.watch("lanes", "Inference threads.", lambda: self.lanes.count)
        metrics.watch("lanes_alive", "Inference threads that make progress.", self.lanes.alive)
        metrics.watch("lanes_busy", "Inference threads that are at work.", lambda: self.lanes.busy)
        metrics.watch_count(
            "lane_busy_seconds",
            "Seconds of all inference threads in micro-batches and preparations that are done.",
            lambda: self.lanes.worked_s,
        )
        metrics.watch("queued_units", "Micro-batches and preparations waiting for a lane.", lambda: self.lanes.waiting)
        metrics.watch("queued_products", "Products admitted and not yet scored.", lambda: backlog.products)
        metrics.watch("backlog_seconds", "Lane-seconds of admitted work, as predicted.", lambda: backlog.seconds)
        metrics.watch(
            "backlog_limit_seconds",
            "Seconds of work that each lane's backlog may hold at present.",
            lambda: self.overload.limit.limit_s,
        )
        metrics.watch(
            "kept_products",
            "Products of which the models keep a state in memory, or a cross-encoder's token ids.",
            lambda: sum(kept.products for kept in self._kept()),
        )
        metrics.watch("kept_bytes", "Memory that these take.", lambda: sum(kept.bytes for kept in self._kept()))
        metrics.watch_each(
            *("cache_bytes", "Memory that a cache takes, over all models.", "cache"),
            lambda: self._by_cache(lambda kept: kept.bytes),
        )
        metrics.watch_each(
            *("cache_limit_bytes", "Most memory that a cache may take, over all models; 0 where it is off.", "cache"),
            lambda: self._by_cache(lambda kept: kept.limit_bytes),
        )
        metrics.watch("ready", "1 when ready for requests.", lambda: self.unavailable() is None)

    def start(self) -> None:
        """Starts the lanes, and loading in the background, so that probes are answered meanwhile."""
        self.lanes.start()
        if self.audit is not None:
            self.audit.start()
        self._loading = asyncio.create_task(self._load_models())

    async def stop(self) -> None:
        """Waits for the loader, then stops the lanes. What is still queued is answered 503."""
        if self._loading is not None:
            await self._loading
        for task in self._swapping:
            task.cancel()
        await asyncio.gather(*self._swapping, return_exceptions=True)
        await asyncio.to_thread(self._loader.shutdown)
        if self.drift is not None:
            await asyncio.to_thread(self.drift.stop)
        await asyncio.to_thread(self.lanes.stop)
        if self.audit is not None:
            await asyncio.to_thread(self.audit.stop)

    def drain(self) -> None:
        """From here on every new scoring request is refused, and no model is swapped; requests in work go on."""
        if not self._draining:
            self._draining = True
            for task in self._swapping:
                task.cancel()
            if self.shadow is not None:
                self.shadow.stop()
            log.info("draining", extra={"fields": {"in_flight": self.in_flight}})

    def forget(self) -> None:
        """Empties the caches of all models: memory is short."""
        for loaded in self._loaded():
            loaded.scorer.forget()
        self._on_loaded()

    def reload(self) -> None:
        """Swaps every model whose folder holds another version. Asked for while loading, it comes after that."""
        if self._draining:
            log.warning("no model is swapped: the service is stopping")
        elif self._swapper is None or self.registry is None:
            self._reload_asked = True
        else:
            self._swapper.ask(slot.name for slot in self.registry.slots())

    def unavailable(self) -> ServiceError | None:
        """Why a scoring request would be refused; None when ready."""
        if self._draining:
            return DrainingError("the service is stopping")
        if self._failure is not None:
            return NotReadyError(f"the model could not be loaded: {self._failure}")
        if self.registry is None:
            return NotReadyError("the model is loading")
        if not self.lanes.usable():
            return NotReadyError("no inference lane makes progress")
        return None

    def models(self) -> list[dict[str, Any]]:
        """What GET /models says of each model, the default first; empty while loading."""
        return self.registry.descriptions() if self.registry is not None else []

    @contextmanager
    def request(self) -> Iterator[Registry]:
        """The models, for one request; it counts as in flight until the block ends.

        Raises:
            NotReadyError, DrainingError: there is no work to be had here.
        """
        refusal = self.unavailable()
        if refusal is not None:
            raise refusal
        assert self.registry is not None
        self.in_flight += 1
        self.idle.clear()
        try:
            yield self.registry
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()

    async def _load_models(self) -> None:
        started = self.clock()
        try:
            slots = await asyncio.get_running_loop().run_in_executor(self._loader, self._load_all)
        except (ArtifactError, DriftReferenceError, EngineError, ModelNameError, OSError) as error:
            log.error("cannot serve: %s", error)
            self._fail(str(error))
            return
        except Exception as error:
            log.exception("cannot serve", extra={"of_no_request": True})
            self._fail(type(error).__name__)
            return
        self._serve(slots)
        cold_start_s = process_age_s() or self.clock() - started
        self.metrics.cold_start.set(cold_start_s)
        for slot in slots:
            fields = {
                "model": slot.name,
                "version": slot.current.version,
                "variant": slot.current.model.variant.name,
                "lanes": self.lanes.count,
                "load_s": round(self.clock() - started, 3),
                "cold_start_s": round(cold_start_s, 3),
            }
            log.info("ready", extra={"fields": fields})

    def _load_all(self) -> list[Slot]:
        """Blocks for about a second per model."""
        if self.settings.drift_reference is not None:
            self._drift_saved = read_saved(self.settings.drift_reference)
        slots = []
        for source in read_sources(self.settings):
            target = follow(source.folder)
            slots.append(Slot(source.name, source.folder, target, self._load_named(source.name, target.folder)))
        self._on_loaded()
        return slots

    def _load_named(self, name: str, folder: Path) -> LoadedModel:
        model = self._load(self.settings.model_copy(update={"model_dir": folder}), self.metrics)
        return LoadedModel(name, model, self._scorer_of(model))

    def _serve(self, slots: list[Slot]) -> None:
        """The models are loaded: opens the doors to requests, reloads and the shadow."""
        settings, metrics = self.settings, self.metrics
        registry = Registry(slots)
        for slot in slots:
            metrics.model_info.labels(*slot.current.info).set(1)
            metrics.micro_batch_cost.labels(slot.name).set_function(partial(_micro_batch_s, slot))
        if settings.shadow_model is not None:
            self.shadow = Shadow(
                registry,
                settings.shadow_model,
                settings.shadow_rate,
                metrics=metrics,
                clock=self.clock,
            )
        if settings.drift_rate:
            self.drift = DriftMonitor(
                registry,
                rate=settings.drift_rate,
                window_s=settings.drift_window_s,
                saved=self._drift_saved,
                metrics=metrics,
                clock=self.clock,
            )
            self.drift.start()
        self._swapper = Swapper(registry, self._load_named, self._loader, metrics, self.clock, self._on_loaded)
        self.registry = registry
        if self._draining:
            return
        self._swapping.append(asyncio.create_task(self._swapper.run()))
        if settings.model_poll_ms:
            self._swapping.append(asyncio.create_task(self._swapper.watch(settings.model_poll_ms / 1000)))
        if self._reload_asked:
            self.reload()

    def _scorer_of(self, model: Model) -> Scorer:
        settings = self.settings
        fields = [field.name for field in model.manifest.template.fields]
        cache_bytes = settings.score_cache_bytes
        return Scorer(
            model.engine,
            self.lanes,
            self.overload.backlog,
            budget_tokens=settings.budget_tokens(model.manifest.architecture),
            encode_tokens=settings.encode_tokens,
            clock=self.clock,
            metrics=self.metrics,
            cost=model.cost,
            batch_wait_s=settings.batch_wait_s,
            cache=ScoreCache(cache_bytes, fields, self.metrics) if cache_bytes else None,
        )

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._on_failure()

    def _begin_lane(self, lane: int) -> None:
        """Called in each lane's thread."""
        wanted = self.settings.lane_priority
        if wanted == "low" or (wanted == "auto" and alone_in_cgroup()):
            let_others_first()
        if self.settings.pin_lanes:
            stay_on_core(lane)

    def _loaded(self) -> list[LoadedModel]:
        slots = self.registry.slots() if self.registry is not None else []
        return [loaded for slot in slots for loaded in slot.models()]

    def _kept(self) -> list[Kept]:
        return [loaded.model.engine.kept() for loaded in self._loaded()]

    def _by_cache(self, count: Callable[[Kept], int]) -> dict[str, float]:
        """Sums over all models."""
        sums: dict[str, float] = {}
        for kept in (*self._kept(), *(loaded.scorer.kept_scores for loaded in self._loaded())):
            sums[kept.cache] = sums.get(kept.cache, 0.0) + count(kept)
        return sums

    def _unit_s(self) -> float:
        """Lane-seconds of the longest unit of work, of the slowest model."""
        slots = self.registry.slots() if self.registry is not None else []
        return max((slot.current.model.cost.unit_s for slot in slots), default=0.0)


def _micro_batch_s(slot: Slot) -> float:
    return slot.current.model.cost.micro_batch_s

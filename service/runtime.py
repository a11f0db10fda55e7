"""The life of one replica: loading, ready, draining, stopped. Owns the model, the lanes and the scorer."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from artifact import ArtifactError

from .errors import DrainingError, NotReadyError, ServiceError
from .machine import available_cores, process_age_s
from .metrics import Metrics
from .model import Model, load_model
from .onnx_engine import EngineError
from .overload import Overload
from .score_cache import ScoreCache
from .scorer import Scorer
from .settings import Settings
from .workers import Workers

log = logging.getLogger(__name__)

Loader = Callable[[Settings, Metrics], Model]


class Runtime:
    """State that requests share.

    Args:
        settings: of the service.
        metrics: of the app.
        clock: monotonic, in seconds.
        load: makes the model; runs in a thread.
        on_failure: told, on the event loop, that the model could not be loaded.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float],
        load: Loader = load_model,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.clock = clock
        self.model: Model | None = None
        self.in_flight = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._scorer: Scorer | None = None
        self._load = load
        self._on_failure = on_failure
        self._failure: str | None = None
        self._draining = False
        self._loading: asyncio.Task[None] | None = None
        cuda = settings.device == "cuda"
        cores = available_cores()
        self.lanes = Workers.make(
            settings.lanes or (1 if cuda else cores),
            max(1, cores - 1) if cuda else 0,
            clock,
            metrics,
            lambda seconds, now: self.overload.drained(seconds, now),
        )
        self.overload = Overload(
            lanes=lambda: max(1, self.lanes.pairs.alive()),
            micro_batch_s=self._micro_batch_s,
            max_backlog_s=settings.max_backlog_ms / 1000,
            clock=clock,
            metrics=metrics,
            random_source=random.Random(),
        )
        backlog = self.overload.backlog
        metrics.watch("lanes", "Inference threads.", lambda: self.lanes.count)
        metrics.watch("lanes_alive", "Inference threads that make progress.", self.lanes.alive)
        metrics.watch("queued_units", "Micro-batches and preparations waiting for a lane.", lambda: self.lanes.waiting)
        metrics.watch("queued_products", "Products admitted and not yet scored.", lambda: backlog.products)
        metrics.watch("backlog_seconds", "Lane-seconds of admitted work, as predicted.", lambda: backlog.seconds)
        metrics.watch(
            "backlog_limit_seconds",
            "Seconds of work that each lane's backlog may hold at present.",
            lambda: self.overload.limit.limit_s,
        )
        metrics.watch(
            "predicted_micro_batch_seconds", "Lane-seconds of a full micro-batch, as predicted.", self._micro_batch_s
        )
        metrics.watch("ready", "1 when ready for requests.", lambda: self.unavailable() is None)

    def start(self) -> None:
        """Starts the lanes, and loading in the background, so that probes are answered meanwhile."""
        self.lanes.start()
        self._loading = asyncio.create_task(self._load_model())

    async def stop(self) -> None:
        """Waits for the loader, then stops the lanes. What is still queued is answered 503."""
        if self._loading is not None:
            await self._loading
        await asyncio.to_thread(self.lanes.stop)

    def drain(self) -> None:
        """From here on every new scoring request is refused; those in work go on."""
        if not self._draining:
            self._draining = True
            log.info("draining", extra={"fields": {"in_flight": self.in_flight}})

    def unavailable(self) -> ServiceError | None:
        """Why a scoring request would be refused; None when ready."""
        if self._draining:
            return DrainingError("the service is stopping")
        if self._failure is not None:
            return NotReadyError(f"the model could not be loaded: {self._failure}")
        if self._scorer is None:
            return NotReadyError("the model is loading")
        if not self.lanes.usable():
            return NotReadyError("no inference lane makes progress")
        return None

    @contextmanager
    def request(self) -> Iterator[tuple[Model, Scorer]]:
        """Model and scorer for one request, counted as in flight until the block ends.

        Raises:
            NotReadyError, DrainingError: there is no work to be had here.
        """
        refusal = self.unavailable()
        if refusal is not None:
            raise refusal
        assert self.model is not None
        assert self._scorer is not None
        self.in_flight += 1
        self.idle.clear()
        try:
            yield self.model, self._scorer
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()

    async def _load_model(self) -> None:
        started = self.clock()
        try:
            model = await asyncio.to_thread(self._load, self.settings, self.metrics)
        except (ArtifactError, EngineError, OSError) as error:
            log.error("cannot serve: %s", error)
            self._fail(str(error))
            return
        except Exception as error:
            log.exception("cannot serve")
            self._fail(type(error).__name__)
            return
        self._scorer = self._scorer_of(model)
        self.model = model
        manifest = model.manifest
        self.metrics.model_info.labels(manifest.name, manifest.version, manifest.architecture, model.variant.name).set(
            1
        )
        cold_start_s = process_age_s() or self.clock() - started
        self.metrics.cold_start.set(cold_start_s)
        fields = {
            "model": manifest.name,
            "version": manifest.version,
            "variant": model.variant.name,
            "lanes": self.lanes.count,
            "load_s": round(self.clock() - started, 3),
            "cold_start_s": round(cold_start_s, 3),
        }
        log.info("ready", extra={"fields": fields})

    def _scorer_of(self, model: Model) -> Scorer:
        settings = self.settings
        fields = [field.name for field in model.manifest.template.fields]
        cache_bytes = settings.score_cache_bytes
        return Scorer(
            model.engine,
            self.lanes,
            self.overload.backlog,
            budget_tokens=settings.budget_tokens,
            clock=self.clock,
            metrics=self.metrics,
            cost=model.cost,
            batch_wait_s=settings.batch_wait_s,
            cache=ScoreCache(cache_bytes, fields, self.metrics) if cache_bytes else None,
        )

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._on_failure()

    def _micro_batch_s(self) -> float:
        return self.model.cost.micro_batch_s if self.model is not None else 0.0

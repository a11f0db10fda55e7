"""Watches answered requests for drift, in a thread of its own.

A request is handed over when its answer is made, and only while the thread is free; after each it rests, so that all
of it takes a fifth of a percent of a core at most. What comes meanwhile is not counted: that depends on the moment,
never on what the request holds, so the sample is fair.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from artifact import Manifest, PairTokenizer
from artifact.reading import SCORE, SIGNALS, InputReader, signals_of

from ..job import Job
from ..metrics import Metrics
from ..registry import LoadedModel, Registry
from ..sampling import is_sampled
from .collector import DriftCollector, WindowState
from .counters import InputCounters
from .references import Reference, Saved, references_of
from .window import SlidingWindow

log = logging.getLogger(__name__)

BUSY_SHARE = 0.002
"""Of one core."""

READ_PRODUCTS = 8
"""So many products of a request are read, evenly spaced: those of one query resemble each other, and the time that
more of them would take is better spent on other requests. Scores are all counted."""


class Answered(NamedTuple):
    """An answered request, and what the model that scored it reads by."""

    job: Job
    name: str
    manifest: Manifest
    tokenizer: PairTokenizer | None


class Watched(NamedTuple):
    """One version of a model in service."""

    version: str
    references: Mapping[str, Reference]
    window: SlidingWindow


class DriftMonitor:
    """Its `offer` belongs to the event loop.

    Args:
        registry: of the loaded models.
        rate: share of answered requests that may be counted.
        window_s: length of the windows in seconds.
        saved: references of real traffic; None for the artifacts' own.
        metrics: to which it adds its own.
        clock: monotonic, in seconds.
        cpu_clock: seconds that the calling thread has computed.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        rate: float,
        window_s: float,
        saved: Saved | None,
        metrics: Metrics,
        clock: Callable[[], float],
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._registry = registry
        self._rate = rate
        self._window_s = window_s
        self._saved = saved.models if saved is not None else {}
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._counters = InputCounters(metrics)
        self._watched: dict[str, Watched] = {}
        self._lock = threading.Lock()
        self._busy = False
        self._rests_until = -np.inf
        self._handed: SimpleQueue[Answered | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
        metrics.registry.register(DriftCollector(self._states))

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Waits for it to end."""
        self._busy = True
        self._handed.put(None)
        self._thread.join()

    def offer(self, job: Job, served: LoadedModel) -> None:
        """Hands over an answered request, unless the thread is busy or rests. Takes a microsecond."""
        if self._busy or self._clock() < self._rests_until or not is_sampled(job.request_id, self._rate):
            return
        self._busy = True
        model = served.model
        self._handed.put(Answered(job, served.name, model.manifest, model.tokenizer))

    def observe(self, answered: Answered) -> None:
        """Counts a request, but one that was scored by a version which has been swapped out since."""
        watched = self._watch(answered.name)
        if watched is None or watched.version != answered.manifest.version:
            return
        logits, scored = answered.job.results()
        scores = answered.manifest.calibration.scores(logits[scored])
        scores = scores[np.isfinite(scores)]
        values: dict[str, ArrayLike] = {SCORE: scores}
        if answered.tokenizer is not None:
            reader = InputReader(answered.tokenizer, alone=answered.manifest.architecture == "split")
            products = answered.job.products
            query = reader.query(answered.job.query)
            read = reader.products(products[:: -(-len(products) // READ_PRODUCTS)], query)
            self._counters.count(query, read)
            values |= signals_of(query, read, tells_unknown=reader.tells_unknown)
        watched.window.add(self._clock(), len(scores), values)

    def _run(self) -> None:
        while (answered := self._handed.get()) is not None:
            began = self._cpu_clock()
            try:
                self.observe(answered)
            except Exception:
                # Drift is not worth a request, nor are later ones worth less than this one.
                log.exception("a request could not be counted for drift")
            # The model that it refers to may be swapped out while the thread waits.
            del answered
            seconds = self._cpu_clock() - began
            self._counters.cpu.inc(seconds)
            self._rests_until = self._clock() + seconds / BUSY_SHARE
            self._busy = False

    def _watch(self, name: str) -> Watched | None:
        """The window of the version in service: an empty one after a swap."""
        slot = next((slot for slot in self._registry.slots() if slot.name == name), None)
        if slot is None:
            return None
        model = slot.current.model
        with self._lock:
            watched = self._watched.get(name)
            if watched is None or watched.version != model.manifest.version:
                watched = self._watched[name] = self._begin(name, model.manifest)
        return watched

    def _begin(self, name: str, manifest: Manifest) -> Watched:
        saved = self._saved.get(name)
        if saved is not None and saved.version != manifest.version:
            log.warning(
                "the saved drift reference is of another version: its scores are left out",
                extra={"fields": {"model": name, "version": manifest.version, "reference_version": saved.version}},
            )
        references = references_of(manifest, saved)
        edges = {**SIGNALS, **{signal: each.distribution.edges for signal, each in references.items()}}
        return Watched(manifest.version, references, SlidingWindow(edges, self._window_s))

    def _states(self) -> Iterator[WindowState]:
        now = self._clock()
        for slot in self._registry.slots():
            watched = self._watch(slot.name)
            if watched is not None:
                window = watched.window
                yield WindowState(slot.name, window.products(now), window.distributions(now), watched.references)

"""A drift monitor over models that nobody serves: requests are answered by a test, at times that it sets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from prometheus_client import generate_latest

from artifact import Manifest, Product, ScoreHistogram
from artifact.loading import load_artifact
from service.drift.monitor import Answered, DriftMonitor
from service.drift.references import Saved
from service.drift.report import Scraped, read_metrics
from service.job import Job
from service.metrics import Metrics
from service.model import Model
from service.registry import LoadedModel, Registry, Slot, follow

from .serving import FakeEngine

WINDOW_S = 3600


def model_of(folder: Path) -> Model:
    """The artifact's manifest and tokenizer, and an engine that is never asked."""
    artifact = load_artifact(folder)
    return Model(artifact.manifest, artifact.manifest.variants[0], FakeEngine(), tokenizer=artifact.tokenizer)


def with_histogram(manifest: Manifest, counts: Sequence[int]) -> Manifest:
    return manifest.model_copy(update={"score_histogram": ScoreHistogram(counts=tuple(counts), data="made up")})


def answered_job(query: str, products: Sequence[Product], scores: Sequence[float], manifest: Manifest) -> Job:
    """A job whose calibrated scores are these; NaN for one that was not scored."""
    job = Job(query, products, deadline=0, partial=True, request_id="r", submitted=0, on_finish=lambda: None)
    given = np.asarray(scores, dtype=np.float64)
    calibration = manifest.calibration
    logits = (np.log(given / (1 - given)) - calibration.intercept) / calibration.slope
    known = np.flatnonzero(~np.isnan(given)).tolist()
    job.record(known, logits[known].astype(np.float32))
    return job


class Watching:
    """One slot, its model, and its monitor, which is told of requests by `ask`."""

    def __init__(self, model: Model, saved: Saved | None = None, rate: float = 1.0, name: str = "tiny") -> None:
        self.now = 0.0
        self.metrics = Metrics()
        self.loaded = LoadedModel(name, model, None)
        self.slot = Slot(name, Path(), follow(Path()), self.loaded)
        self.metrics.model_info.labels(*self.loaded.info).set(1)
        self.monitor = DriftMonitor(
            Registry([self.slot]),
            rate=rate,
            window_s=WINDOW_S,
            saved=saved,
            metrics=self.metrics,
            clock=lambda: self.now,
        )

    def ask(self, query: str, products: Sequence[Product], scores: Sequence[float], model: Model | None = None) -> None:
        model = model or self.slot.current.model
        job = answered_job(query, products, scores, model.manifest)
        self.monitor.observe(Answered(job, self.slot.name, model.manifest, model.tokenizer))

    def swap(self, model: Model) -> None:
        self.slot.current = LoadedModel(self.slot.name, model, None)
        self.metrics.model_info.remove(*self.loaded.info)
        self.loaded = self.slot.current
        self.metrics.model_info.labels(*self.loaded.info).set(1)

    def text(self) -> str:
        return generate_latest(self.metrics.registry).decode()

    def scraped(self) -> Scraped:
        return read_metrics(self.text())[self.slot.name]

    def psi(self) -> dict[str, float]:
        return self.scraped().psi

    def saved(self) -> Saved:
        return Saved(taken="2026-01-01T00:00:00+00:00", models={self.slot.name: self.scraped().saved()})

    def value(self, metric: str, /, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"shelfscore_{metric}", labels)


def without_references(model: Model) -> Model:
    bare = model.manifest.model_copy(update={"score_histogram": None, "input_reference": None})
    return replace(model, manifest=bare)

"""What Prometheus sees. One registry per app, so that two apps in one process never mix."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

from .exposition import TEXT, Format
from .histogram import Histogram
from .outcomes import ENDINGS, Ending
from .tally import Tally

PREFIX = "shelfscore"
LATENCY_S = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.075),
    *(0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0),
)
SCORE_S = (
    *(0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.055, 0.06, 0.07),
    *(0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5),
)
"""Dense around the default budget of 50 ms, so that a percentile near it is read and not guessed."""

ROUTE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
MICRO_BATCH_S = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25)
RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)
DIFFERENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
SHARES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
COUNTS = (1, 2, 5, 10, 20, 50, 64, 100, 200, 500, 1000)
TOKENS = (16, 64, 256, 512, 1024, 1536, 2048, 3072, 4096, 8192, 16_384, 32_768, 65_536)

REFUSED_CONNECTIONS = (
    *("malformed", "late_head", "unread_body", "head_too_large", "pipelined", "connections"),
    "slow_reader",
)


class Metrics:
    """Every metric of the service, over a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

        self.requests = self._counter("requests", "Requests answered.", "route", "status")
        self.duration = self._histogram(
            "request_duration_seconds", "From a request's arrival to its answer.", ROUTE_S, "route"
        )
        score_requests = self._counter("score_requests", "POST /score, each once, by its ending.", *Ending._fields)
        self._score_requests = {ending: score_requests.labels(*ending) for ending in ENDINGS}
        score_duration = self._histogram(
            "score_duration_seconds", "From the arrival of a POST /score to its answer.", SCORE_S, "outcome"
        )
        self._score_durations = {ending.outcome: score_duration.labels(ending.outcome) for ending in ENDINGS}
        self.stage = self._histogram("stage_duration_seconds", "Stages of an answered POST /score.", LATENCY_S, "stage")
        self.products = self._histogram("request_products", "Products of a POST /score that could be read.", COUNTS)
        self.request_tokens = self._histogram(
            "request_tokens", "Tokens of an answered POST /score that went to the model, padding left out.", TOKENS
        )
        self.in_flight = self._gauge("in_flight_requests", "Requests being answered.")
        self.refused_connections = self._counter(
            "refused_connections", "Connections that broke a bound on connections and were ended.", "reason"
        )
        for reason in REFUSED_CONNECTIONS:
            self.refused_connections.labels(reason)
        self.not_finite = self._counter("not_finite_logits", "Logits that were NaN or infinite; their score is null.")

        self._worked = worked = Tally(3)
        self.watch_count("scored_pairs", "Pairs that went through the model.", lambda: worked.sums()[0])
        self.registry.register(
            _Read(
                *("tokens", "Tokens that went through the model: text, or padding.", "counter", "kind"),
                lambda: dict(zip(("text", "padding"), worked.sums()[1:], strict=True)),
            )
        )
        self.micro_batches = self._histogram(
            "micro_batch_duration_seconds", "Time of a micro-batch in the model.", MICRO_BATCH_S
        )
        self.dropped_units = self._counter("dropped_units", "Units of work dropped before they ran.", "reason")
        for reason in ("expired", "abandoned", "failed"):
            self.dropped_units.labels(reason)
        self.lane_failures = self._counter("lane_failures", "Errors that would have ended a lane; it went on.")
        self.prediction_ratio = self._histogram(
            "admission_prediction_ratio",
            "Time that an admitted request took to be scored, as a multiple of the time predicted at its admission.",
            RATIOS,
        )
        self.cache_lookups = self._counter(
            "cache_lookups", "Products looked up in a cache: token, state or score.", "cache", "result"
        )

        self.product_states = self._counter(
            "product_states", "States of products that a split model used: from memory, file, or fresh.", "source"
        )
        self.product_encoding = self._histogram(
            "product_encoding_duration_seconds", "Time of a micro-batch in the product encoder.", MICRO_BATCH_S
        )
        self.corrupted_states = self._counter(
            "states_file_corrupted_records", "Lookups in a states file that met a damaged record, which was skipped."
        )
        self.refused_states_files = self._counter(
            "refused_states_files",
            "States files that a model was loaded without: other_states, damaged, unreadable.",
            "reason",
        )
        for reason in ("other_states", "damaged", "unreadable"):
            self.refused_states_files.labels(reason)

        self.traced_requests = self._counter(
            "traced_requests",
            "Requests whose spans were exported, dropped for want of room, or failed to be.",
            "outcome",
        )
        self.audit_pairs = self._counter(
            "audit_pairs", "Sampled pairs that were written to the audit files, or dropped.", "outcome"
        )

        self.model_info = self._gauge(
            *("model_info", "A loaded model; the value is 1."),
            *("name", "version", "architecture", "variant", "precision"),
        )
        self.cold_start = self._gauge("cold_start_seconds", "From the process's start to ready.")
        self.build_info = self._gauge("build_info", "The service itself; the value is 1.", "version")
        self.micro_batch_cost = self._gauge(
            "predicted_micro_batch_seconds", "Lane-seconds of a full micro-batch, as predicted.", "model"
        )
        self.swaps = self._counter("model_swaps", "Swaps of a model: swapped, unchanged or failed.", "model", "outcome")
        self.last_swap = self._gauge(
            "model_last_swap_timestamp_seconds", "Unix time of the last swap of an outcome.", "model", "outcome"
        )

        self.shadow = self._counter(
            "shadow_requests",
            "Sampled requests: compared, failed, or dropped since the lanes had other work.",
            "outcome",
        )
        self.shadow_difference = self._histogram(
            "shadow_score_difference",
            "Mean over a request's products of |the shadow's score - the served score|.",
            DIFFERENCES,
        )
        self.shadow_disagreement = self._histogram(
            "shadow_rank_disagreement", "Share of a request's product pairs that the shadow orders otherwise.", SHARES
        )

    def watch(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Adds a gauge that is read when it is scraped."""
        self._gauge(name, documentation).set_function(read)

    def watch_count(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Adds a counter that is read when it is scraped. It must never fall."""
        self.registry.register(_Read(name, documentation, "counter", None, lambda: {"": read()}))

    def watch_each(self, name: str, documentation: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Adds a gauge by the value of a label, all of which are read when it is scraped."""
        self.registry.register(_Read(name, documentation, "gauge", label, read))

    def score_ended(self, ending: Ending, seconds: float, trace_id: str | None = None) -> None:
        """Counts a POST /score that is done with, so long after its arrival; the trace is that of its caller."""
        self._score_requests[ending].inc()
        self._score_durations[ending.outcome].observe(seconds, trace_id)

    def micro_batch(self, *, seconds: float, pairs: int, tokens: int, padded_tokens: int) -> None:
        """Counts one micro-batch. Padding's share of all tokens is the planner's waste."""
        self.micro_batches.observe(seconds)
        self._worked.add((pairs, tokens, padded_tokens - tokens))

    def render(self, wanted: Format = TEXT) -> bytes:
        """All of it, in a format."""
        return wanted.write(self.registry.collect())

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, namespace=PREFIX, registry=self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, namespace=PREFIX, registry=self.registry)

    def _histogram(self, name: str, documentation: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", documentation, bounds, labels, self.registry)


class _Read:
    """A counter or gauge that is read when it is scraped: one value, or one for each value of a label."""

    def __init__(
        self, name: str, documentation: str, kind: str, label: str | None, read: Callable[[], Mapping[str, float]]
    ) -> None:
        self._name = f"{PREFIX}_{name}"
        self._documentation = documentation
        self._kind = kind
        self._label = label
        self._read = read

    def describe(self) -> list[Metric]:
        return [Metric(self._name, self._documentation, self._kind)]

    def collect(self) -> list[Metric]:
        (family,) = self.describe()
        name = f"{self._name}_total" if self._kind == "counter" else self._name
        for value, number in self._read().items():
            family.add_sample(name, {self._label: value} if self._label else {}, number)
        return [family]

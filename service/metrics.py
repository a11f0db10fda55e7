"""What Prometheus sees. One registry per app, so that two apps in one process never mix."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

PREFIX = "shelfscore"
LATENCY_S = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.075),
    *(0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0),
)
MICRO_BATCH_S = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25)
RATIOS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)
DIFFERENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
SHARES = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
COUNTS = (1, 2, 5, 10, 20, 50, 64, 100, 200, 500, 1000)


class Metrics:
    """Every metric of the service, over a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

        self.requests = self._counter("requests", "Requests answered.", "route", "status")
        self.duration = self._histogram(
            "request_duration_seconds", "From a request's arrival to its answer.", LATENCY_S, "route"
        )
        self.stage = self._histogram("stage_duration_seconds", "Stages of a scored request.", LATENCY_S, "stage")
        self.products = self._histogram("request_products", "Products of a scoring request.", COUNTS)
        self.in_flight = self._gauge("in_flight_requests", "Requests being answered.")
        self.shed = self._counter("shed_requests", "Scoring requests turned away or given up, by reason.", "reason")
        self.refused_connections = self._counter(
            "refused_connections", "Connections that broke a bound on connections and were ended.", "reason"
        )
        self.partial = self._counter("incomplete_answers", "Answers in which a score is null.")
        self.not_finite = self._counter("not_finite_logits", "Logits that were NaN or infinite; their score is null.")

        self.pairs = self._counter("scored_pairs", "Pairs that went through the model.")
        self.tokens = self._counter("tokens", "Tokens that went through the model: text, or padding.", "kind")
        self.micro_batches = self._histogram(
            "micro_batch_duration_seconds", "Time of a micro-batch in the model.", MICRO_BATCH_S
        )
        self.dropped_units = self._counter("dropped_units", "Units of work dropped before they ran.", "reason")
        self.lane_failures = self._counter("lane_failures", "Errors that would have ended a lane; it went on.")
        self.prediction_ratio = self._histogram(
            "admission_prediction_ratio",
            "Time that an admitted request took to be scored, as a multiple of the time predicted at its admission.",
            RATIOS,
        )
        self.score_cache_lookups = self._counter(
            "score_cache_lookups", "Products looked up in the score cache.", "result"
        )
        self.cache_lookups = self._counter("token_cache_lookups", "Products looked up in the token cache.", "result")

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

        self.model_info = self._gauge(
            "model_info", "A loaded model; the value is 1.", "name", "version", "architecture", "variant"
        )
        self.cold_start = self._gauge("cold_start_seconds", "From the process's start to ready.")
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

    def micro_batch(self, *, seconds: float, pairs: int, tokens: int, padded_tokens: int) -> None:
        """Counts one micro-batch. Padding's share of all tokens is the planner's waste."""
        self.micro_batches.observe(seconds)
        self.pairs.inc(pairs)
        self.tokens.labels("text").inc(tokens)
        self.tokens.labels("padding").inc(padded_tokens - tokens)

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, namespace=PREFIX, registry=self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, namespace=PREFIX, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, documentation, labels, namespace=PREFIX, registry=self.registry, buckets=buckets)

"""Counters of what models get to read of their inputs, in the requests that drift is told by."""

from collections.abc import Sequence

from prometheus_client import Counter

from artifact.reading import FIELDS, Reading

from ..metrics import PREFIX, Metrics

SIDES = ("query", "product")


class InputCounters:
    """Over the registry of the metrics.

    Args:
        metrics: of the app.

    Attributes:
        cpu: told of the time that the thread computed, in seconds.
    """

    def __init__(self, metrics: Metrics) -> None:
        def counter(name: str, documentation: str, label: str, values: Sequence[str]) -> dict[str, Counter]:
            made = Counter(name, documentation, [label], namespace=PREFIX, registry=metrics.registry)
            return {value: made.labels(value) for value in values}

        self._inputs = counter("inputs", "Sampled queries and products, counted for drift.", "side", SIDES)
        self._truncated = counter("truncated_inputs", "Those of which the model did not read all.", "side", SIDES)
        self._cut_fields = counter(
            "truncated_fields", "Fields of them, and queries, over their limit.", "field", FIELDS
        )
        self._tokens = counter("input_tokens", "Tokens that the model read of them, special ones apart.", "side", SIDES)
        self._unknown = counter("unknown_tokens", "Tokens among these for what the vocabulary lacks.", "side", SIDES)
        self.cpu = Counter(
            "drift_cpu_seconds",
            "Time of a core that drift took, scrapes apart.",
            namespace=PREFIX,
            registry=metrics.registry,
        )

    def count(self, query: Reading, products: Sequence[Reading]) -> None:
        """One request's sampled inputs."""
        for side, readings in (("query", [query]), ("product", products)):
            self._inputs[side].inc(len(readings))
            self._truncated[side].inc(sum(reading.truncated for reading in readings))
            self._tokens[side].inc(sum(reading.tokens for reading in readings))
            self._unknown[side].inc(sum(reading.unknown for reading in readings))
            for reading in readings:
                for field in reading.cut_fields:
                    self._cut_fields[field].inc()

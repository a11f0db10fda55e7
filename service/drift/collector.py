"""Drift as Prometheus sees it: computed when it is scraped, so that a window empties without traffic too."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from artifact.distribution import Distribution

from ..metrics import PREFIX
from .psi import compare
from .references import Reference


class WindowState(NamedTuple):
    """Of one model: what its window holds, and what it is compared with."""

    model: str
    products: int
    distributions: Mapping[str, Distribution]
    references: Mapping[str, Reference]


class DriftCollector(Collector):
    """Makes the gauges of every window.

    Args:
        windows: gives the state of each model's window; called in the thread that scrapes.
    """

    def __init__(self, windows: Callable[[], Iterable[WindowState]]) -> None:
        self._windows = windows

    def collect(self) -> Iterator[Metric]:
        """The gauges. A signal without a reference, or with too few inputs, has no PSI."""
        products = _gauge("drift_window_products", "Scored products that drift is told by.", "model")
        inputs = _gauge("drift_window_inputs", "Inputs in the window, by bin.", "model", "signal", "at_least")
        independent = _gauge(
            "drift_window_independent_inputs",
            "How many inputs drawn one by one would tell as much as the window.",
            "model",
            "signal",
        )
        reference_inputs = _gauge(
            "drift_reference_independent_inputs",
            "The same of the reference: saved of real traffic, or from the manifest.",
            "model",
            "signal",
            "reference",
        )
        psi = _gauge(
            "drift_psi",
            "Population stability index of the window against the reference, less what chance makes of it.",
            "model",
            "signal",
            "reference",
        )
        chance = _gauge("drift_chance_psi", "What was taken off as chance.", "model", "signal")
        for state in self._windows():
            model = state.model
            products.add_metric([model], state.products)
            for signal, (reference, origin) in state.references.items():
                reference_inputs.add_metric([model, signal, origin], reference.worth)
            for signal, found in state.distributions.items():
                independent.add_metric([model, signal], found.worth)
                for edge, count in zip(("-Inf", *map(_edge, found.edges)), found.counts, strict=True):
                    inputs.add_metric([model, signal, edge], count)
                if signal in state.references:
                    compared = compare(state.references[signal].distribution, found)
                    if compared.is_settled:
                        psi.add_metric([model, signal, state.references[signal].origin], compared.value)
                        chance.add_metric([model, signal], compared.chance)
        yield from (products, inputs, independent, reference_inputs, psi, chance)


def _gauge(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", documentation, labels=labels)


def _edge(value: float) -> str:
    return repr(float(value)).removesuffix(".0")

"""`python -m service drift-report`: reads the metrics of a running service, prints what drifted, saves references."""
# ruff: noqa: T201 - printing is its purpose

import argparse
import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from artifact.distribution import Distribution
from artifact.reading import SIGNALS

from ..metrics import PREFIX
from .psi import LARGEST_SPREAD, SHIFTED, by_chance, verdict
from .references import SavedModel, saved_at

TIMEOUT_S = 10.0
MOST_BYTES = 64 * 1024 * 1024

READ = ("drift_psi", "drift_chance_psi", "drift_window_", "drift_reference_", "model_info")
"""How the metrics begin that are read."""


class ReportError(Exception):
    """There is nothing to report on, or nowhere to save it."""


@dataclass(slots=True)
class Scraped:
    """What a scrape tells of one model.

    Attributes:
        products: in its window.
        psi, chance: by signal.
        origins: of each signal's reference.
        bins: of each signal of the window, inputs by lower edge.
        worths: of each signal, what these are worth.
    """

    version: str = ""
    products: float = 0.0
    psi: dict[str, float] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    bins: dict[str, dict[float, float]] = field(default_factory=dict)
    worths: dict[str, float] = field(default_factory=dict)

    def saved(self) -> SavedModel:
        """The window as a reference."""
        signals = {}
        for signal, bins in self.bins.items():
            edges = sorted(bins)
            counts = tuple(int(bins[edge]) for edge in edges)
            worth = self.worths.get(signal)
            signals[signal] = Distribution(edges=tuple(edges[1:]), counts=counts, independent_inputs=worth)
        return SavedModel(version=self.version, signals=signals)


def main(arguments: Sequence[str]) -> int:
    """Prints the report. Returns 0; 1 where `--fail-above` is passed, or has nothing to judge; 2 where it broke off."""
    given = _parser().parse_args(arguments)
    try:
        models = read_metrics(_fetch(given.url) if given.file is None else _read(given.file))
        if given.model is not None:
            models = {name: model for name, model in models.items() if name == given.model}
        if not models:
            raise ReportError("no model with drift metrics there: is it a service of ours, and drift_rate above 0?")
        print(json.dumps(_as_json(models), indent=1) if given.json else _as_text(models))
        if given.save_reference is not None:
            _save(models, given.save_reference)
    except ReportError as error:
        print(f"drift-report: {error}", file=sys.stderr)
        return 2
    return _judge(models, given.fail_above) if given.fail_above is not None else 0


def read_metrics(text: str) -> dict[str, Scraped]:
    """What the Prometheus text format tells of drift, by model.

    Raises:
        ReportError: it is not that format.
    """
    prefix = f"{PREFIX}_"
    wanted = tuple(f"{prefix}{name}" for name in READ)
    # Other metrics may come in forms that the parser does not know.
    lines = [line for line in text.splitlines() if line.startswith(wanted)]
    models: dict[str, Scraped] = {}
    versions: dict[str, str] = {}
    try:
        for name, labels, value in _samples("\n".join(lines) + "\n"):
            if name == f"{prefix}model_info":
                versions[labels["name"]] = labels["version"]
                continue
            model = models.setdefault(labels["model"], Scraped())
            match name.removeprefix(f"{prefix}drift_"):
                case "window_products":
                    model.products = value
                case "psi":
                    model.psi[labels["signal"]] = value
                case "chance_psi":
                    model.chance[labels["signal"]] = value
                case "reference_independent_inputs":
                    model.origins[labels["signal"]] = labels["reference"]
                case "window_independent_inputs":
                    model.worths[labels["signal"]] = value
                case "window_inputs":
                    model.bins.setdefault(labels["signal"], {})[float(labels["at_least"])] = value
    except (ValueError, KeyError) as error:
        raise ReportError(f"not the metrics of a service of ours: {error}") from error
    for name, model in models.items():
        model.version = versions.get(name, "")
    return models


def _samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def _fetch(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ReportError(f"{url}: expected an address that begins with http:// or https://")
    address = url if url.endswith("/metrics") else f"{url.rstrip('/')}/metrics"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:  # noqa: S310 (the scheme is checked)
            content: bytes = answer.read(MOST_BYTES)
    except (OSError, ValueError, HTTPException) as error:
        raise ReportError(f"{address}: {error}") from error
    return content.decode("utf-8", "replace")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: {error}") from error


def _signals(model: Scraped) -> list[str]:
    """Those that the window or the reference has, in the order of the table."""
    return [signal for signal in SIGNALS if signal in model.bins or signal in model.origins]


def _verdict(model: Scraped, signal: str) -> str:
    if signal in model.psi:
        return verdict(model.psi[signal])
    return "too few inputs" if signal in model.origins else "no reference"


def _as_text(models: Mapping[str, Scraped]) -> str:
    blocks = []
    for name, model in models.items():
        lines = [f"{name} {model.version}: {model.products:,.0f} scored products in the window"]
        lines.append(f"  {'signal':26}{'PSI':>8}{'chance':>9}  {'reference':11}verdict")
        for signal in _signals(model):
            psi, chance = (f"{found[signal]:.3f}" if signal in found else "-" for found in (model.psi, model.chance))
            origin = model.origins.get(signal, "-")
            lines.append(f"  {signal:26}{psi:>8}{chance:>9}  {origin:11}{_verdict(model, signal)}")
        if "manifest" in model.origins.values():
            lines.append(
                "  A reference from the manifest is of the pairs that the model was made from, not of traffic:"
            )
            lines.append("  save one of real traffic with --save-reference.")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _as_json(models: Mapping[str, Scraped]) -> dict[str, object]:
    return {
        name: {
            "version": model.version,
            "window_products": int(model.products),
            "signals": {
                signal: {
                    "psi": model.psi.get(signal),
                    "chance": model.chance.get(signal),
                    "reference": model.origins.get(signal),
                    "verdict": _verdict(model, signal),
                }
                for signal in _signals(model)
            },
        }
        for name, model in models.items()
    }


def _save(models: Mapping[str, Scraped], path: Path) -> None:
    try:
        saved = {name: model.saved() for name, model in models.items() if model.bins}
    except ValidationError as error:
        raise ReportError(f"the window cannot be saved: {error.errors()[0]['msg']}") from error
    if not saved:
        raise ReportError("the window is empty: nothing was saved")
    for name, model in saved.items():
        few = [signal for signal, found in model.signals.items() if not _serves(found)]
        if len(few) == len(model.signals):
            raise ReportError(f"{name}: no signal has enough inputs: nothing was saved")
        if few:
            print(f"drift-report: {name}: left out, with too few inputs to judge by: {', '.join(few)}", file=sys.stderr)
            kept = {signal: found for signal, found in model.signals.items() if signal not in few}
            saved[name] = SavedModel(version=model.version, signals=kept)
    try:
        saved_at(saved).write(path)
    except OSError as error:
        raise ReportError(f"{path}: {error}") from error
    print(f"drift-report: saved {path}; have the service read it with --drift-reference", file=sys.stderr)


def _serves(found: Distribution) -> bool:
    """Whether another sample of its size would tell something by it."""
    occupied = sum(count > 0 for count in found.counts)
    return by_chance(occupied, found, found)[1] <= LARGEST_SPREAD


def _judge(models: Mapping[str, Scraped], limit: float) -> int:
    above = [
        f"{name} {signal} {psi:.3f}"
        for name, model in models.items()
        for signal, psi in model.psi.items()
        if psi > limit
    ]
    blind = [name for name, model in models.items() if not model.psi]
    if above:
        print(f"drift-report: above {limit:g}: {', '.join(above)}", file=sys.stderr)
    if blind:
        print(f"drift-report: nothing to judge yet: {', '.join(blind)}", file=sys.stderr)
    return 1 if above or blind else 0


def _share(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service drift-report",
        description="How far scores and inputs of the traffic are from their references, see docs/drift.md.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--url", default="http://127.0.0.1:8080", help="of the service (default: %(default)s)")
    source.add_argument("--file", type=Path, help="in place of it: a file with what GET /metrics said")
    parser.add_argument("--model", help="this one alone (default: all)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--fail-above",
        type=_share,
        metavar="PSI",
        help=f"exit with 1 where a PSI is above, such as {SHIFTED}, or a model has none yet",
    )
    parser.add_argument(
        "--save-reference",
        type=Path,
        metavar="FILE",
        help="write the window's distributions, for the service's --drift-reference",
    )
    return parser

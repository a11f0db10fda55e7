"""Two artifacts, or two variants of one, side by side: what they are, quality, agreement, speed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artifact import Metric, Variant

from ..runtime import Pair
from ..timing import in_turn
from .checks import Say
from .contestant import Contestant, describe, read_contestant
from .pairs import pairs_to_check, read_judged, read_pairs, rows_by_query
from .scores import mean_tau

MADE_UP_PAIRS = 1000
SPEED_PAIRS = 64
ROUNDS = 30


@dataclass(frozen=True, slots=True)
class MetricPair:
    """One metric of both, and why the two cannot be held against each other, or None."""

    name: str
    a: Metric
    b: Metric
    incomparable: str | None

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        difference = "not comparable: " + self.incomparable if self.incomparable else f"{self.difference:+.4f}"
        return (
            f"{self.a.data} {self.name}, {self.a.split}, n = {self.a.size}",
            _cell(self.a),
            _cell(self.b),
            difference,
        )

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.b.value - self.a.value

    def as_dict(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "name": self.name,
            "a": self.a.model_dump(),
            "b": self.b.model_dump(),
            "difference": None if self.incomparable else self.difference,
            "incomparable": self.incomparable,
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of two scorings of the same pairs: mean Kendall's tau of a query's products, Pearson's r of the scores."""

    pairs: int
    queries: int
    kendall_tau: float | None
    pearson: float | None


@dataclass(frozen=True, slots=True)
class Speed:
    """Median milliseconds of the same pairs on one thread, in turns; B / A as ratio of medians, and over rounds."""

    pairs: int
    rounds: int
    a_ms: float
    b_ms: float
    ratio: float
    ratio_p5: float
    ratio_p95: float


def compare(a: str, b: str, say: Say, texts: Path | None = None, judged: Path | None = None) -> dict[str, Any]:
    """Tells Markdown tables of both and returns the same facts.

    Args:
        a, b: FOLDER or FOLDER:VARIANT.
        texts: JSON lines of {"query", "product"} to score. None: made-up pairs.
        judged: JSON lines of {"query", "product", "target"}, for figures measured here.

    Raises:
        ArtifactError, ExportError: either, or a file, cannot be read.
    """
    pairs = pairs_to_check(MADE_UP_PAIRS, None, 0) if texts is None else read_pairs(texts)
    judgements = None if judged is None else read_judged(judged)
    both = (read_contestant(a), read_contestant(b))
    report: dict[str, Any] = {"a": _facts(both[0]), "b": _facts(both[1])}
    for line in _table(("", "A", "B"), _descriptions(*both)):
        say(line)
    metrics = pair_metrics(*(each.metrics for each in both))
    report["metrics"] = [each.as_dict() for each in metrics]
    heading = ("from the manifests", f"A {both[0].variant.name}", f"B {both[1].variant.name}", "B - A")
    for line in (
        _table(heading, [each.cells for each in metrics]) if metrics else ["No metric stands in both manifests."]
    ):
        say(line)
    if judgements is not None:
        found = [each.judged(*judgements) for each in both]
        rows = [(name, found[0][name], found[1][name]) for name in found[0] if name in found[1]]
        report["judged"] = {name: {"a": x, "b": y, "difference": y - x} for name, x, y in rows}
        heading = (f"on {len(judgements[0])} judged pairs", "A", "B", "B - A")
        for line in _table(heading, [(name, f"{x:.4f}", f"{y:.4f}", f"{y - x:+.4f}") for name, x, y in rows]):
            say(line)
    agreement = agree(*both, pairs)
    report["agreement"] = asdict(agreement)
    say(_told(agreement, "made-up pairs" if texts is None else "pairs of the file"))
    speed = race(*both, pairs[:SPEED_PAIRS])
    report["speed"] = asdict(speed)
    say(
        f"Speed: {speed.pairs} pairs on one thread take A {speed.a_ms:.1f} ms, B {speed.b_ms:.1f} ms (medians of "
        f"{speed.rounds} rounds in turn); B / A {speed.ratio:.3f}, in 90 % of rounds {speed.ratio_p5:.3f} to "
        f"{speed.ratio_p95:.3f}."
    )
    return report


def pair_metrics(first: Sequence[Metric], second: Sequence[Metric]) -> list[MetricPair]:
    """Metrics that both have: of the same data and split where there are, the others by name, as not comparable."""
    rest, left = list(second), []
    found: list[MetricPair] = []
    for a in first:
        b = next((b for b in rest if (b.name, b.data, b.split) == (a.name, a.data, a.split)), None)
        if b is None:
            left.append(a)
            continue
        rest.remove(b)
        found.append(MetricPair(a.name, a, b, None if a.size == b.size else f"B over {b.size}"))
    for a in left:
        b = next((b for b in rest if b.name == a.name), None)
        if b is not None:
            rest.remove(b)
            found.append(MetricPair(a.name, a, b, f"B on {b.data}, {b.split}"))
    return found


def agree(a: Contestant, b: Contestant, pairs: Sequence[Pair]) -> Agreement:
    """Scores the same pairs by both."""
    lists = rows_by_query(pairs)
    of_a, of_b = a.logits(pairs), b.logits(pairs)
    scores = np.stack((a.scores(of_a), b.scores(of_b)))
    pearson = float(np.asarray(np.corrcoef(scores))[0, 1]) if np.ptp(scores, axis=1).all() else None
    return Agreement(len(pairs), len(lists), mean_tau(of_b, of_a, lists), pearson)


def race(a: Contestant, b: Contestant, pairs: Sequence[Pair], rounds: int = ROUNDS) -> Speed:
    """Times both on the same texts, each in micro-batches of its own tokens.

    Tokenising is not counted, nor, in a split model, encoding products: both may be done beforehand.
    """
    work: dict[str, Callable[[], object]] = {
        "a": a.online(pairs),
        "b": b.online(pairs),
    }
    seconds = {name: np.array(taken) for name, taken in in_turn(work, rounds).items()}
    medians = {name: float(np.median(taken)) for name, taken in seconds.items()}
    low, high = np.percentile(seconds["b"] / seconds["a"], (5, 95))
    ratio = medians["b"] / medians["a"]
    return Speed(len(pairs), rounds, 1e3 * medians["a"], 1e3 * medians["b"], ratio, float(low), float(high))


def _descriptions(a: Contestant, b: Contestant) -> list[tuple[str, str, str]]:
    facts = [_shown(each) for each in (a, b)]
    names = list(dict.fromkeys([*facts[0], *facts[1]]))
    return [(name, facts[0].get(name, "–"), facts[1].get(name, "–")) for name in names]


def _shown(contestant: Contestant) -> dict[str, str]:
    m = contestant.artifact.manifest
    return {
        "name": m.name,
        "version": m.version,
        "created": m.lineage.created,
        "architecture": f"{m.architecture}, {m.layers} layers, {m.hidden_size} wide",
        "template": describe(m.template),
        "calibration": f"slope {m.calibration.slope:.4g}, intercept {m.calibration.intercept:.4g}",
        "compared variant": contestant.variant.name,
        **{f"size of {variant.name}": f"{_size_bytes(variant) / 1e6:.1f} MB" for variant in m.variants},
    }


def _size_bytes(variant: Variant) -> int:
    """Of all its graphs."""
    return sum(graph.size_bytes for graph in variant.graphs())


def _facts(contestant: Contestant) -> dict[str, Any]:
    m = contestant.artifact.manifest
    shown = m.model_dump(mode="json", include={"name", "version", "architecture", "layers", "hidden_size", "template"})
    sizes = {variant.name: _size_bytes(variant) for variant in m.variants}
    return {**shown, "variant": contestant.variant.name, "size_bytes": sizes}


def _told(found: Agreement, what: str) -> str:
    tau = "" if found.kendall_tau is None else f"Kendall tau {found.kendall_tau:.3f} (mean of {found.queries} queries)"
    pearson = "" if found.pearson is None else f"Pearson {found.pearson:.4f} of the calibrated scores"
    return f"Agreement on {found.pairs} {what}: {', '.join(filter(None, (tau, pearson))) or 'nothing to measure'}."


def _cell(metric: Metric) -> str:
    return f"{metric.value:.4f} [{metric.low:.4f}, {metric.high:.4f}]"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [heading, ["---"] * len(heading), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells), ""]

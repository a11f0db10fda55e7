"""Searches the int8 scheme of a student: ranges, smoothing, and which operands must stay in fp32.

The first of these that ranks as fp32 does (faithful.py) is taken: plain ranges; smoothed activations, which cost a
multiplication each; then also the operands whose 8 bits hurt most in fp32, one after another.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import ExportError
from .faithful import MAX_NDCG_LOSS, MIN_PAIRS, MIN_TAU, Faithfulness, Lists
from .graph import Floats
from .quantise import Scheme
from .ranges import METHODS, Measured
from .runtime import Scored

SMOOTHING = 0.75
"""How much of the spread between channels moves from activations to weights."""
SMALLEST = 1e-5
MOST_KEPT = 4
"""Operands that may stay in fp32; a model that needs more is refused."""

Say = Callable[[str], None]
Model = TypeVar("Model")
"""What a scheme is built into, ready to run: for a cross-encoder a function of feeds, see runtime.py."""
Measure = Callable[[Mapping[str, Floats]], dict[str, Measured]]
"""Activations of all operands, some divided by channel."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The scheme that was taken, and what the search found.

    Attributes:
        errors: RMS error of the logits by way of setting ranges.
        sensitivity: of each operand the RMS error where it alone is int8, largest first; empty if not needed.
        faithfulness: on the gate's lists; None without lists.
    """

    scheme: Scheme
    method: str
    smoothed: bool
    errors: dict[str, float]
    sensitivity: dict[str, float] = field(default_factory=dict)
    faithfulness: Faithfulness | None = None

    def __str__(self) -> str:
        others = ", ".join(f"{name} {error:.4f}" for name, error in self.errors.items())
        kept = f", {', '.join(sorted(self.scheme.kept))} in fp32" if self.scheme.kept else ""
        return f"{self.name}{kept} (RMS error of the logits: {others})"

    @property
    def name(self) -> str:
        """Ranges and smoothing in words."""
        return _name(self.method, self.smoothed)

    def choices(self) -> dict[str, str]:
        """For the manifest."""
        kept = {"fp32_operands": ", ".join(sorted(self.scheme.kept))} if self.scheme.kept else {}
        return {"int8_ranges": self.name, **kept}


class Search(Generic[Model]):
    """Finds the scheme of one model.

    Args:
        build: the graph of a scheme.
        measure: activations on the range pairs, divided by what it is given.
        weights: of each operand the matrices (outer, inner) that it is multiplied by.
        fp32: what the scheme is held against.
        choice_pairs: the way of setting ranges with the smallest logit error on these is taken.
        lists: what the scheme must rank as fp32 does. None: the first scheme is taken, for nothing can be told.
    """

    def __init__(
        self,
        build: Callable[[Scheme], Model],
        measure: Measure,
        weights: Mapping[str, list[Floats]],
        fp32: Model,
        choice_pairs: Scored[Model],
        lists: Lists[Model] | None,
        say: Say,
    ) -> None:
        self._build = build
        self._measure = measure
        self._weights = weights
        self._pairs = choice_pairs
        self._expected = choice_pairs.logits(fp32)
        self._lists = lists
        self._wanted = None if lists is None else lists.pairs.logits(fp32)
        self._say = say
        self._errors: dict[str, float] = {}

    def run(self) -> Choice:
        """The first scheme that ranks as fp32 does.

        Raises:
            ExportError: none does, with `MOST_KEPT` operands in fp32.
        """
        plain = self._measure({})
        choice, found = self._tried(self._ranges(plain, {}))
        if found is None or found.suffices:
            return choice
        divisors = {tag: smoothing(each.largest, self._weights[tag]) for tag, each in plain.items()}
        choice, found = self._tried(self._ranges(self._measure(divisors), divisors))
        if found is None or found.suffices:
            return choice
        return self._with_some_kept(choice)

    def sensitivity(self, scheme: Scheme) -> dict[str, float]:
        """Operand -> RMS error of the logits where it alone is int8, largest first."""
        errors = {}
        for tag in scheme.ranges:
            alone = Scheme(scheme.ranges, scheme.smoothing, frozenset(scheme.ranges) - {tag})
            errors[tag] = self._error(alone)
        found = dict(sorted(errors.items(), key=lambda item: -item[1]))
        shown = ", ".join(f"{tag} {error:.4f}" for tag, error in found.items())
        self._say(f"RMS error with one operand in int8: {shown}")
        return found

    def _with_some_kept(self, smoothed: Choice) -> Choice:
        """The most sensitive operands in fp32, as few as do."""
        sensitivity = self.sensitivity(smoothed.scheme)
        choice, found = smoothed, None
        for count in range(1, min(MOST_KEPT, len(sensitivity)) + 1):
            scheme = replace(smoothed.scheme, kept=frozenset(list(sensitivity)[:count]))
            choice, found = self._tried(replace(smoothed, scheme=scheme, sensitivity=sensitivity))
            if found is not None and found.suffices:
                return choice
        asked = (
            f"cpu-int8 does not rank as fp32 does, with {len(choice.scheme.kept)} operands in fp32: {found}; asked are "
            f"a tau of {MIN_TAU} at least and a loss of {MAX_NDCG_LOSS} nDCG at most"
        )
        if found is not None and found.pairs >= MIN_PAIRS:
            raise ExportError(f"{asked}: serve cpu-fp32 (--variants cpu-fp32), or train on more varied pairs")
        self._say(f"warning: {asked}, but fewer than {MIN_PAIRS} pairs do not tell")
        return choice

    def _ranges(self, measured: Mapping[str, Measured], divisors: Mapping[str, Floats]) -> Choice:
        """The way of setting ranges with the smallest error."""
        schemes = {}
        for method, cover in METHODS.items():
            name = _name(method, bool(divisors))
            ranges = {tag: cover(each.histogram) for tag, each in measured.items()}
            schemes[name] = method, Scheme(ranges, divisors)
            self._errors[name] = self._error(schemes[name][1])
        best = min(schemes, key=lambda name: self._errors[name])
        method, scheme = schemes[best]
        return Choice(scheme, method, bool(divisors), dict(self._errors))

    def _tried(self, choice: Choice) -> tuple[Choice, Faithfulness | None]:
        if self._lists is None or self._wanted is None:
            return choice, None
        found = self._lists.compare(self._wanted, self._lists.pairs.logits(self._build(choice.scheme)))
        self._say(f"int8 with {choice.name}, {len(choice.scheme.kept)} operands in fp32: {found}")
        return replace(choice, faithfulness=found), found

    def _error(self, scheme: Scheme) -> float:
        difference: NDArray[np.float64] = self._pairs.logits(self._build(scheme)) - self._expected
        return float(np.sqrt(np.mean(difference**2)))


def smoothing(largest: Floats, weights: list[Floats]) -> Floats:
    """Divisors of an operand's channels, (inner,), with a geometric mean of 1.

    largest_j ** 0.75 / (largest weight of column j) ** 0.25.

    Source: Xiao et al., SmoothQuant, ICML 2023, equation 4.
    """
    columns = np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0)
    logarithm = SMOOTHING * np.log(np.maximum(largest, SMALLEST))
    logarithm -= (1 - SMOOTHING) * np.log(np.maximum(columns, SMALLEST))
    divisors: Floats = np.exp(logarithm - logarithm.mean()).astype(np.float32)
    return divisors


def _name(method: str, smoothed: bool) -> str:
    return f"{method}, smoothed" if smoothed else method

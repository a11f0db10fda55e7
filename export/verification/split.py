"""The checks of a split model: two encoders and the interaction of their outputs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from onnx import ModelProto

from artifact import LatencyPoint, PairTokenizer, Variant

from ..errors import ExportError
from ..parity import TOLERANCE
from ..runtime import Pair
from ..split.checkpoint import read_split
from ..split.latency import measure_interaction, measure_product_encoder
from ..split.parity import check_against_student, check_split_independence
from ..split.runtime import SplitModel, SplitPairs, graph_files
from .checks import Finding
from .scores import Logits
from .split_graphs import check_split_signature
from .verification import Verification

ROUNDS = (3, 25)
"""Of the latency tables, without and with time for them."""


Result = TypeVar("Result")


class SplitVerification(Verification[SplitModel]):
    """A variant is three sessions."""

    def _signature(self, variant: Variant, models: Mapping[str, ModelProto]) -> Finding:
        files = graph_files(self._folder, variant)
        assert variant.states is not None
        return check_split_signature({part: models[path.name] for part, path in files.items()}, variant.states)

    def _opened(self, variant: Variant) -> SplitModel:
        return SplitModel.read(self._folder, variant)

    def _logits(self, model: SplitModel, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> Logits:
        return _ran(lambda: SplitPairs(tokenizer, pairs).logits(model))

    def _golden_logits(self, model: SplitModel, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> Logits:
        alone = [self._logits(model, tokenizer, [pair])[0] for pair in pairs]
        return np.stack((np.array(alone), self._logits(model, tokenizer, pairs)))

    def _neighbours(self, model: SplitModel, tokenizer: PairTokenizer, variant: str) -> Finding:
        found = _ran(lambda: check_split_independence(model, tokenizer, self._pairs, variant, self._options.seed))
        facts = {"pairs": found.joined.pairs, "queries": found.queries, "largest_difference": found.worst}
        sentence = f"logits move by at most {found.worst:.2g} (limit {TOLERANCE:g}): {found}"
        return Finding(sentence, {**facts, "limit": TOLERANCE})

    def _torch(
        self, folder: Path
    ) -> tuple[Callable[[Sequence[Pair]], Logits], Callable[[SplitModel, Sequence[Pair]], Finding]]:
        student = read_split(folder, self._manifest.template).student

        def check(model: SplitModel, pairs: Sequence[Pair]) -> Finding:
            worst = check_against_student(student, model, pairs)
            facts = {"against": "torch", "pairs": len(pairs), "largest_difference": worst, "limit": TOLERANCE}
            told = f"against torch: {len(pairs)} pairs, largest difference {worst:.2g} (limit {TOLERANCE:g})"
            return Finding(told, facts)

        return lambda pairs: student.logits(pairs).astype(np.float64), check

    def _latencies(self) -> Mapping[str, Finding]:
        rounds = ROUNDS[self._options.latency_budget_s > 0]
        sizes = (self._manifest.template.max_tokens, self._manifest.tokenizer.vocab_size, rounds)
        found = {}
        for variant, model in self._runs.items():
            joined, encoded = measure_interaction(model, *sizes), measure_product_encoder(model, *sizes)
            facts = {
                "rounds": rounds,
                "latency": [point.model_dump() for point in joined],
                "product_latency": [point.model_dump() for point in encoded],
            }
            table = [*_table("interaction, states known", joined), *_table("product encoder", encoded)]
            found[variant] = Finding(f"{rounds} rounds", facts, table)
        return found


def _ran(work: Callable[[], Result]) -> Result:
    """What the work gives; a run's failure is a refusal."""
    try:
        return work()
    except ExportError:
        raise
    except Exception as error:  # the runtime's exceptions share no base class of their own
        raise ExportError(f"ONNX Runtime stops in a graph: {error}") from error


def _table(what: str, points: Sequence[LatencyPoint]) -> list[str]:
    heading = ["", f"| {what}: products | tokens of each | ms on one thread, median |", "|---|---|---|"]
    return [*heading, *(f"| {each.pairs} | {each.tokens} | {1e3 * each.seconds:.2f} |" for each in points), ""]

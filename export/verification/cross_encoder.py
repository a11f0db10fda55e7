"""The checks of a cross-encoder: one graph from pairs to logits."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from onnx import ModelProto

from artifact import PairTokenizer, Variant

from ..checkpoint import Checkpoint, load_checkpoint
from ..errors import ExportError
from ..graph import Floats
from ..runtime import EncodedPairs, Feeds, Pair, Run, logits_of, open_session
from .checks import Finding
from .graphs import check_signature
from .latency import latency_finding, time_micro_batches
from .scores import Logits, check_neighbours, check_torch
from .verification import Verification


class CrossEncoderVerification(Verification[Run]):
    """A variant is a function from feeds to logits."""

    _inputs: frozenset[str] = frozenset()

    def _signature(self, variant: Variant, models: Mapping[str, ModelProto]) -> Finding:
        return check_signature(self._folder / variant.file, models[variant.file])

    def _opened(self, variant: Variant) -> Run:
        session = open_session((self._folder / variant.file).read_bytes())
        self._inputs = frozenset(each.name for each in session.get_inputs())
        return partial(_run, logits_of(session))

    def _logits(self, model: Run, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> Logits:
        return EncodedPairs(tokenizer, pairs).logits(model)

    def _golden_logits(self, model: Run, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> Logits:
        encoded, rows = EncodedPairs(tokenizer, pairs), list(range(len(pairs)))
        return np.stack((encoded.logits(model, [[row] for row in rows]), encoded.logits(model, [rows])))

    def _neighbours(self, model: Run, tokenizer: PairTokenizer, variant: str) -> Finding:
        return check_neighbours(model, EncodedPairs(tokenizer, self._pairs), variant, self._options.seed)

    def _torch(
        self, folder: Path
    ) -> tuple[Callable[[Sequence[Pair]], Logits], Callable[[Run, Sequence[Pair]], Finding]]:
        checkpoint = self._checkpoint(folder)
        return (
            lambda pairs: EncodedPairs(self._tokens, pairs).logits(checkpoint.logits),
            lambda model, pairs: check_torch(checkpoint, model, EncodedPairs(self._tokens, pairs)),
        )

    def _checkpoint(self, folder: Path) -> Checkpoint:
        """The checkpoint, read as it was for this artifact: with its tokenizer, token types and gains."""
        gains = next((v.choices["gains"] for v in self._manifest.variants if "gains" in v.choices), None)
        return load_checkpoint(
            folder,
            self._checks.say,
            None if gains is None else [float(gain) for gain in gains.split(",")],
            self._folder / self._manifest.tokenizer.file,
            not self._inputs or "token_type_ids" in self._inputs,
        )

    def _latencies(self) -> Mapping[str, Finding]:
        cells, rounds = time_micro_batches(self._runs, self._tokens, self._options.latency_budget_s)
        return {
            variant: latency_finding([cell for cell in cells if cell.variant == variant], rounds)
            for variant in self._runs
        }


def _run(run: Run, feeds: Feeds) -> Floats:
    """A run whose failure is a refusal."""
    try:
        return run(feeds)
    except Exception as error:  # the runtime's exceptions share no base class of their own
        raise ExportError(f"ONNX Runtime stops in the graph: {error}") from error

"""Runs graphs in ONNX Runtime with the options that the service uses, over pairs that are tokenised once."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from artifact import PairTokenizer, Product

from .bert import OUTPUT
from .errors import ExportError
from .graph import Floats

Pair = tuple[str, Product]
Feeds = dict[str, NDArray[Any]]
Rows = Sequence[int] | NDArray[np.int64]
Run = Callable[[Feeds], Floats]
"""Feeds of n rows -> logits (n,)."""

SLOWER_ON_CPU = ["SkipLayerNormFusion", "BiasGeluFusion"]
"""Optimisers that replace operators by slower ones."""

MICRO_BATCH = 8
"""Pairs in a micro-batch, near what the service plans."""


def session_options() -> ort.SessionOptions:
    """One thread, sequential, no spinning, 8-bit products that do not overflow: what a lane of the service runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    return options


def open_session(model: bytes, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """A CPU session.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    try:
        return ort.InferenceSession(
            model,
            options or session_options(),
            providers=["CPUExecutionProvider"],
            disabled_optimizers=SLOWER_ON_CPU,
        )
    except Exception as error:  # the runtime's exceptions share no base class of their own
        raise ExportError(f"ONNX Runtime {ort.__version__} refuses the graph: {error}") from error


def logits_of(session: ort.InferenceSession) -> Run:
    """The session as a function from feeds to logits."""

    def run(feeds: Feeds) -> Floats:
        logits: Floats = session.run([OUTPUT], read_by(session, feeds))[0][:, 0]
        return logits

    return run


def read_by(session: ort.InferenceSession, feeds: Feeds) -> Feeds:
    """The feeds that a graph reads: token types are not known to every family."""
    return {each.name: feeds[each.name] for each in session.get_inputs()}


def run_all(run: Callable[[Feeds], object], batches: Iterable[Feeds]) -> None:
    """Runs one batch after another."""
    for feeds in batches:
        run(feeds)


def optimised_operators(model: bytes) -> Counter[str]:
    """How often each operator stands in the graph that ONNX Runtime makes of a model."""
    with tempfile.TemporaryDirectory() as folder:
        options = session_options()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        open_session(model, options)
        graph = onnx.load(options.optimized_model_filepath, load_external_data=False).graph
    return Counter(node.op_type for node in graph.node)


Model = TypeVar("Model", contravariant=True)


class Scored(Protocol[Model]):
    """Pairs that a model of some kind can score."""

    def __len__(self) -> int: ...

    def logits(self, run: Model) -> NDArray[np.float64]:
        """Logits in pair order, shape (n,)."""


class Encoded:
    """Rows of model inputs that can be batched in any grouping.

    Args:
        lengths: tokens of each row, by which micro-batches are made, shape (n,).
    """

    micro_batch = MICRO_BATCH
    """Rows of one."""

    def __init__(self, lengths: NDArray[np.int64]) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def feeds(self, rows: Rows) -> Feeds:
        """Model inputs of some rows, padded to the longest of them."""
        raise NotImplementedError

    def micro_batches(self, size: int | None = None) -> list[NDArray[np.int64]]:
        """Rows in groups of `size`, or of a micro-batch, shortest first."""
        size = size or self.micro_batch
        order = np.argsort(self.lengths, kind="stable")
        return [order[start : start + size] for start in range(0, len(order), size)]

    def logits(self, run: Run, groups: Iterable[Rows] | None = None) -> NDArray[np.float64]:
        """Logits in row order, shape (n,), computed group by group: length-sorted micro-batches by default."""
        logits = np.full(len(self), np.nan)
        for rows in self.micro_batches() if groups is None else groups:
            logits[rows] = run(self.feeds(rows))
        return logits


class EncodedPairs(Encoded):
    """Tokenised (query, product) pairs."""

    def __init__(self, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> None:
        self._tokenizer = tokenizer
        queries = {query: tokenizer.encode_query(query) for query in dict.fromkeys(query for query, _ in pairs)}
        products = tokenizer.encode_products([product for _, product in pairs])
        self._ids = [(queries[query], ids) for (query, _), ids in zip(pairs, products, strict=True)]
        super().__init__(np.array([tokenizer.pair_length(len(query), len(product)) for query, product in self._ids]))

    def feeds(self, rows: Rows) -> Feeds:
        return self._tokenizer.collate([self._ids[row] for row in rows]).feeds()


def scorer(run: Run, tokenizer: PairTokenizer) -> Callable[[Sequence[Pair]], NDArray[np.float64]]:
    """A function from text pairs to logits (n,), as the service computes them."""

    def score(pairs: Sequence[Pair]) -> NDArray[np.float64]:
        return EncodedPairs(tokenizer, pairs).logits(run)

    return score

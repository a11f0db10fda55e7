"""Runs the three graphs: texts to states, states and a query to logits; and pairs of texts in bulk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from artifact import PairTokenizer, Variant
from artifact.gather import Gather
from artifact.product_states import ProductState, states_of_batch
from artifact.tokenisation import TokenIds

from ..bert import OUTPUT
from ..errors import ExportError
from ..graph import Floats
from ..runtime import Encoded, Feeds, Pair, Rows, open_session, read_by
from . import names
from .checkpoint import PARTS, Part

SPECIAL = 2
"""Tokens around a product's own."""

CHUNK = 2048
"""Pairs whose products' states are in memory at a time."""

ENCODED, SCORED = 8, 16
"""Products in a run of their encoder, and of the interaction."""


class SplitModel:
    """The three graphs of a variant, ready to run on one thread.

    Args:
        graphs: ONNX bytes.
    """

    def __init__(self, graphs: Mapping[Part, bytes]) -> None:
        self.sessions: dict[Part, ort.InferenceSession] = {part: open_session(graphs[part]) for part in PARTS}

    @classmethod
    def read(cls, folder: Path, variant: Variant) -> "SplitModel":
        """Of a variant in an artifact's folder, its files taken as they are.

        Raises:
            ExportError: the variant is not split, or ONNX Runtime refuses a graph.
        """
        return cls({part: path.read_bytes() for part, path in graph_files(folder, variant).items()})

    def encode_products(self, feeds: Feeds) -> list[ProductState]:
        """States of products, from what `PairTokenizer.collate_alone` makes of them."""
        session = self.sessions["product"]
        tokens, scales, pooled, pooled_scales = session.run(list(names.PRODUCT_OUTPUTS), read_by(session, feeds))
        lengths = feeds[names.TEXT_INPUTS[1]].sum(axis=1)
        return states_of_batch(tokens, scales, pooled, pooled_scales, lengths)

    def encode_query(self, feeds: Feeds) -> Feeds:
        """What the interaction needs of one query."""
        session = self.sessions["query"]
        feeds = self.read_by_query(feeds)
        found = [each.name for each in session.get_outputs()]
        return dict(zip(found, session.run(found, read_by(session, feeds)), strict=True))

    def read_by_query(self, feeds: Feeds) -> Feeds:
        """What the query's graph reads: of a text, or where both sides share an encoder, of its states."""
        if all(each.name != names.STATES for each in self.sessions["query"].get_inputs()):
            return feeds
        session = self.sessions["product"]
        (states,) = session.run([names.STATES], read_by(session, feeds))
        return {names.STATES: states}

    def interact(self, feeds: Feeds) -> Floats:
        """Logits (n,) of what `encode_query` and `gathered` make, together."""
        session = self.sessions["interaction"]
        logits: Floats = session.run([OUTPUT], read_by(session, feeds))[0][:, 0]
        return logits


def graph_files(folder: Path, variant: Variant) -> dict[Part, Path]:
    """Each graph's file.

    Raises:
        ExportError: the variant is not split.
    """
    product, query = variant.product_encoder, variant.query_encoder
    if product is None or query is None:
        raise ExportError(f"{folder}: {variant.name} is no split model")
    return {"product": folder / product.file, "query": folder / query.file, "interaction": folder / variant.file}


def gathered(states: Sequence[ProductState]) -> Feeds:
    """Product states as the interaction reads them, padded to the longest with zeros."""
    first, longest = states[0].tokens, max(len(state.tokens) for state in states)
    return Gather(longest, first.shape[1], first.dtype.type)(states)


class Texts(Encoded):
    """Queries, or products, alone between special tokens.

    Args:
        alone: micro-batches hold one text each, as the query encoder asks.
    """

    def __init__(self, tokenizer: PairTokenizer, texts: Sequence[TokenIds], alone: bool = False) -> None:
        lengths = [tokenizer.alone_length(len(text)) for text in texts]
        super().__init__(np.array(lengths, np.int64))
        self.micro_batch = 1 if alone else ENCODED
        self._tokenizer = tokenizer
        self._texts = texts

    def feeds(self, rows: Rows) -> Feeds:
        return self._tokenizer.collate_alone([self._texts[row] for row in rows]).feeds()

    def states(self, model: SplitModel) -> list[ProductState]:
        """Of products, in order."""
        found: dict[int, ProductState] = {}
        for rows in self.micro_batches():
            found.update(zip(rows.tolist(), model.encode_products(self.feeds(rows)), strict=True))
        return [found[row] for row in range(len(self))]


class SplitPairs:
    """Tokenised (query, product) pairs."""

    def __init__(self, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> None:
        self.tokenizer = tokenizer
        queries = {query: tokenizer.encode_query(query) for query in dict.fromkeys(query for query, _ in pairs)}
        self.products = tokenizer.encode_products([product for _, product in pairs])
        self.queries = [queries[query] for query, _ in pairs]

    def __len__(self) -> int:
        return len(self.products)

    def logits(self, run: SplitModel) -> NDArray[np.float64]:
        """Logits in pair order, shape (n,): each query is encoded once, and each product once in `CHUNK` pairs."""
        logits = np.full(len(self), np.nan)
        order = np.argsort(_numbered(self.queries), kind="stable")
        for start in range(0, len(self), CHUNK):
            for rows, feeds in self._chunk(run, order[start : start + CHUNK]):
                logits[rows] = run.interact(feeds)
        return logits

    def runs(self, model: SplitModel) -> list[Feeds]:
        """What the interaction reads to score all pairs."""
        return [feeds for _, feeds in self._chunk(model, np.arange(len(self)))]

    def online(self, model: SplitModel) -> Callable[[], None]:
        """A function that scores all pairs, whose products' states are gathered already."""
        queries = {query.tobytes(): query for query in self.queries}
        asked = [self.tokenizer.collate_alone([query]).feeds() for query in queries.values()]
        runs = self.runs(model)

        def work() -> None:
            for feeds in asked:
                model.encode_query(feeds)
            for feeds in runs:
                model.interact(feeds)

        return work

    def _chunk(self, model: SplitModel, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Feeds]]:
        products = [self.products[row] for row in rows]
        number = _numbered(products)
        _, first = np.unique(number, return_index=True)
        states = Texts(self.tokenizer, [products[i] for i in first]).states(model)
        queries = _numbered([self.queries[row] for row in rows])
        for query in range(int(queries.max()) + 1):
            places = np.flatnonzero(queries == query)
            places = places[np.argsort([len(products[i]) for i in places], kind="stable")]
            asked = self.tokenizer.collate_alone([self.queries[rows[places[0]]]]).feeds()
            encoded = model.encode_query(asked)
            for start in range(0, len(places), SCORED):
                some = places[start : start + SCORED]
                yield rows[some], {**encoded, **gathered([states[number[i]] for i in some])}


def split_scorer(model: SplitModel, tokenizer: PairTokenizer) -> Callable[[Sequence[Pair]], NDArray[np.float64]]:
    """A function from text pairs to logits (n,), as the service computes them."""

    def score(pairs: Sequence[Pair]) -> NDArray[np.float64]:
        return SplitPairs(tokenizer, pairs).logits(model)

    return score


def _numbered(texts: Sequence[TokenIds]) -> NDArray[np.int64]:
    """The number of each text, equal ones sharing theirs, in the order of first appearance: (n,)."""
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(text.tobytes(), len(known)) for text in texts], np.int64)

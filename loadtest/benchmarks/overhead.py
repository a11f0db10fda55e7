"""What the service adds to ONNX Runtime: the client's latency less what the service itself calls inference.

Each turn of product texts that the service never met is followed by one of the same products under other queries: no
pair comes twice, but the texts do, so that the service need not tokenise them again where it keeps them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ..errors import ServerError, TrafficError
from ..measure import percentile
from ..timing import stages_ms
from ..traffic.distinct import distinct_requests, text_key
from ..traffic.requests import Product, ScoreRequest, make_request
from .hosting import Hosted
from .observed import Counters, hits_and_lookups
from .protocols import ScoreProtocol

TEXTS = ("unseen", "seen")
"""Whether the service met a turn's product texts before."""
WARMUP_PART = 3
"""The warm-up is this part of a round."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One request, milliseconds."""

    latency_ms: float
    """As the client saw it."""
    stages_ms: dict[str, float]
    """As the service told: queue, tokenize, inference, total."""

    @property
    def inference_ms(self) -> float:
        """The floor: from the first micro-batch taken by a lane to the last one done."""
        return self.stages_ms["inference"]

    @property
    def overhead_ms(self) -> float:
        """Everything that is not inference."""
        return self.latency_ms - self.inference_ms

    @property
    def overhead_share(self) -> float:
        """Of the latency."""
        return self.overhead_ms / self.latency_ms


@dataclass(frozen=True, slots=True)
class Turn:
    """One server's requests of one size, with texts seen or unseen, in one round."""

    products: int
    texts: str
    timed: Sequence[Timed]
    token_hits: float | None
    """Share of product texts that its token cache knew; None where it does not tell."""
    lanes_filled: float | None
    """The micro-batches' own time over the lanes that they could fill, as a share of the inference; None if untold."""
    client_cpu_ms: float
    """A request."""

    def median(self, figure: Callable[[Timed], float]) -> float:
        """Nearest rank over the requests."""
        return percentile([figure(one) for one in self.timed], 0.5)


@dataclass(frozen=True, slots=True)
class Block:
    """The requests of one round and one size: first their texts are unseen, then seen."""

    products: int
    unseen: Sequence[ScoreRequest]
    seen: Sequence[ScoreRequest]


@dataclass(slots=True)
class Entry:
    """A server and its turns."""

    name: str
    turns: list[Turn] = field(default_factory=list)

    def turns_of(self, products: int, texts: str) -> list[Turn]:
        """Those of one kind, in the order of the rounds."""
        return [turn for turn in self.turns if (turn.products, turn.texts) == (products, texts)]


def make_blocks(
    traffic: Sequence[ScoreRequest], source: str, *, sizes: Sequence[int], rounds: int, requests: int
) -> list[Block]:
    """One block for each size of each round, and one of each size before them, to warm up with.

    Raises:
        TrafficError: the traffic has too few titles, or too few queries.
    """
    fresh = _fresh_titles(traffic)
    queries = list({text_key(request.query): request.query for request in traffic}.values())
    if len(queries) < 2:
        raise TrafficError(f"{source}: expected at least 2 queries, found {len(queries)}")
    blocks = []
    for number in range(rounds + 1):
        count = requests if number else max(1, requests // WARMUP_PART)
        for size in sizes:
            drawn = [_draw(fresh, size) for _ in range(count)]
            if any(len(products) < size for _, products in drawn):
                raise TrafficError(
                    f"{source}: expected more than {rounds * requests * sum(sizes)} products of different titles"
                )
            unseen = [make_request(query, products) for query, products in drawn]
            seen = [make_request(_another(queries, query), products) for query, products in drawn]
            blocks.append(Block(size, unseen, seen))
    asked = [request for block in blocks for request in (*block.unseen, *block.seen)]
    distinct_requests(asked, len(asked), source)
    return blocks


def measure_overhead(
    servers: Sequence[Hosted], blocks: Sequence[Block], sizes: int, say: Callable[[str], object]
) -> list[Entry]:
    """Asks each block of each server; the first `sizes` blocks warm up and are not counted.

    Raises:
        ServerError: a server failed, or does not tell its stages.
    """
    entries = [Entry(server.name) for server in servers]
    for number, block in enumerate(blocks):
        turns = []
        for server, entry in zip(servers, entries, strict=True):
            for texts, requests in zip(TEXTS, (block.unseen, block.seen), strict=True):
                turn = _take_turn(server, block.products, texts, requests)
                turns.append(turn)
                if number >= sizes:
                    entry.turns.append(turn)
        shown = ", ".join(f"{turn.median(lambda one: one.latency_ms):.2f}" for turn in turns)
        say(f"block {number + 1} of {len(blocks)}, {block.products} products: p50 {shown} ms")
    return entries


def _fresh_titles(traffic: Sequence[ScoreRequest]) -> Iterator[tuple[str, Product]]:
    """Products whose title did not come before, beside the query that they came with."""
    met: set[str] = set()
    for request in traffic:
        for product in request.products:
            title = text_key(product.get("title"))
            if title not in met:
                met.add(title)
                yield request.query, product


def _draw(fresh: Iterator[tuple[str, Product]], size: int) -> tuple[str, list[Product]]:
    """Products that came together, as far as they last, and the query of the last of them."""
    drawn = [found for _, found in zip(range(size), fresh, strict=False)]
    return (drawn[-1][0] if drawn else ""), [product for _, product in drawn]


def _another(queries: Sequence[str], own: str) -> str:
    return next(query for query in queries[::-1] if text_key(query) != text_key(own))


def _take_turn(server: Hosted, products: int, texts: str, requests: Sequence[ScoreRequest]) -> Turn:
    before = server.counters()
    asked = server.ask(ScoreProtocol.path, [request.body for request in requests])
    after = server.counters()
    timed = [Timed(answer.latency_ms, stages_ms(answer.reply.server_timing)) for answer in asked.answers]
    if any(not {"inference", "total"} <= one.stages_ms.keys() for one in timed):
        raise ServerError(f"{server.name}: expected inference and total in server-timing")
    hits, lookups = hits_and_lookups(after, before, "token") or (0.0, 0.0)
    return Turn(
        products=products,
        texts=texts,
        timed=timed,
        token_hits=hits / lookups if lookups else None,
        lanes_filled=lanes_filled(before, after, timed),
        client_cpu_ms=1e3 * asked.client_cpu_s / len(timed),
    )


def lanes_filled(before: Counters, after: Counters, timed: Sequence[Timed]) -> float | None:
    """`Turn.lanes_filled`, of what was counted before and after the requests."""
    name = "shelfscore_micro_batch_duration_seconds"
    inference_s = sum(one.inference_ms for one in timed) / 1e3
    if f"{name}_sum" not in after or "shelfscore_lanes" not in after or not inference_s:
        return None
    busy_s, count = (after[f"{name}_{part}"] - before.get(f"{name}_{part}", 0.0) for part in ("sum", "count"))
    lanes = min(after["shelfscore_lanes"], max(1.0, count / len(timed)))
    return busy_s / lanes / inference_s

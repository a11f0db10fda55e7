"""Where requests come from, the same for every command: a file as it stands, a file to draw from, or made-up ones."""

import argparse
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ..errors import LoadtestError
from .catalogue import Catalogue, check_sendable, load_catalogue
from .drawing import DrawnRequests, Law, Shop, draw_requests
from .requests import MAX_LINES, MAX_QUERY_CHARS, Traffic, load_traffic, make_request, parse_text, read_objects
from .sizes import Sizes, parse_sizes
from .synthetic import synthetic_request, synthetic_requests
from .zipf import MAX_EXPONENT, products_of

ZIPF_HELP = (
    f"draw requests, the queries by Zipf's law with this exponent (0 to {MAX_EXPONENT:g}), from --traffic or synthetic "
    "ones; --catalogue and --repeat-share do so too, with 1"
)
CATALOGUE_HELP = "JSONL of products, or CSV: draw candidates from it; a line of --traffic then needs only its query"
REPEAT_HELP = "draw requests, this share of them exact repeats of earlier ones"
_EXPONENT = 1.0


@dataclass(frozen=True, slots=True)
class Source:
    """Which requests are wanted."""

    traffic: Path | None = None
    catalogue: Path | None = None
    zipf: float | None = None
    repeat_share: float = 0.0
    distinct: int = 200
    """Synthetic requests, or how many synthetic ones are drawn from."""
    sizes: Sizes = field(default_factory=lambda: parse_sizes("64"))
    """Of synthetic and drawn requests."""
    seed: int = 1

    def __post_init__(self) -> None:
        if self.zipf is not None and not (math.isfinite(self.zipf) and 0 <= self.zipf <= MAX_EXPONENT):
            raise LoadtestError(f"--zipf: expected 0 to {MAX_EXPONENT:g}, found {self.zipf}")
        if not 0 <= self.repeat_share < 1:
            raise LoadtestError(f"--repeat-share: expected 0 to below 1, found {self.repeat_share}")
        if self.catalogue is not None and self.traffic is None:
            raise LoadtestError("--catalogue: expected --traffic with it, for its queries")

    @classmethod
    def of(cls, parsed: argparse.Namespace, sizes: Sizes) -> Self:
        """What a command's options ask for, see `add_drawing_options`; absent ones are not asked for."""
        return cls(
            traffic=parsed.traffic,
            catalogue=getattr(parsed, "catalogue", None),
            zipf=getattr(parsed, "zipf", None),
            repeat_share=getattr(parsed, "repeat_share", 0.0),
            distinct=parsed.distinct,
            sizes=sizes,
            seed=parsed.seed,
        )

    @property
    def drawn(self) -> bool:
        """Whether requests are drawn, rather than taken as they stand."""
        return self.zipf is not None or self.catalogue is not None or self.repeat_share > 0

    def pool(self) -> Traffic:
        """The requests of the file, or synthetic ones.

        Raises:
            TrafficError: naming file, line and field.
        """
        if self.traffic is not None or self.sizes.fixed is not None:
            return load_traffic(self.traffic, requests=self.distinct, products=self.sizes.most, seed=self.seed)
        sizes_random = random.Random(f"synthetic sizes {self.seed}")
        made = [
            make_request(*synthetic_request(number, self.sizes.draw(sizes_random), self.seed))
            for number in range(self.distinct)
        ]
        source = f"synthetic ({self.distinct} requests of {self.sizes.text} products, seed {self.seed})"
        return Traffic(made, source, synthetic=True)

    def draw(self, sizes: Sequence[int | None]) -> tuple[DrawnRequests, str]:
        """A request for each entry of `sizes`, see `draw_requests`; and in words, what came of it.

        Raises:
            TrafficError: naming file, line and field.
        """
        exponent = _EXPONENT if self.zipf is None else self.zipf
        drawn = draw_requests(self._shop(), Law(self.sizes, exponent, self.repeat_share, self.seed), sizes)
        words = (
            f"drawn from {self._shop_words()}: {len(drawn)} requests of {self.sizes.text} products, Zipf exponent "
            f"{exponent:g} ({drawn.asked} queries, the first in {drawn.head_share:.1%}), {drawn.repeats} exact "
            f"repeats, {drawn.products} products, seed {self.seed}"
        )
        return drawn, words

    def _shop_words(self) -> str:
        traffic = "synthetic requests" if self.traffic is None else str(self.traffic)
        return traffic if self.catalogue is None else f"the queries of {traffic} and the products of {self.catalogue}"

    def _shop(self) -> Shop:
        if self.traffic is None:
            made = [make_request(*each) for each in synthetic_requests(self.distinct, _SYNTHETIC_LIST, self.seed)]
            return Shop(Counter(each.query for each in made), Catalogue.of(products_of(made)), "synthetic")
        if self.catalogue is not None:
            return Shop(read_queries(self.traffic), load_catalogue(self.catalogue), str(self.catalogue))
        requests = self.pool().requests
        for number, request in enumerate(requests, start=1):
            check_sendable([request.query, *request.products], f"{self.traffic} request {number}")
        queries = Counter(request.query for request in requests)
        return Shop(queries, Catalogue.of(products_of(requests)), str(self.traffic))


_SYNTHETIC_LIST = 64
"""Products of each synthetic request that is drawn from."""


def add_drawing_options(container: argparse._ActionsContainer) -> None:
    """The options that have requests drawn."""
    container.add_argument("--catalogue", type=Path, metavar="FILE", help=CATALOGUE_HELP)
    container.add_argument("--zipf", type=float, metavar="EXPONENT", help=ZIPF_HELP)
    container.add_argument("--repeat-share", type=float, default=0.0, metavar="SHARE", help=REPEAT_HELP)


def read_queries(path: Path) -> Counter[str]:
    """Queries of a JSONL file, and how many lines have each; other fields of its lines are not looked at.

    Raises:
        TrafficError: naming file, line and field.
    """
    queries: Counter[str] = Counter()
    for contents, _, where in read_objects(path, MAX_LINES, "query"):
        query = parse_text(contents.get("query"), f"{where}: query", MAX_QUERY_CHARS)
        check_sendable(query, f"{where}: query")
        queries[query] += 1
    return queries

"""Which pairs of query and product are the same, and requests in which none comes twice.

Two products are told apart by their titles alone: every template reads the title, so that no cache of ours or of
others can know a pair whose query or title it has not met, whatever other fields it reads.
"""

from collections.abc import Iterable

from ..errors import TrafficError
from .requests import Product, ScoreRequest

PairKey = tuple[str, str]


def text_key(text: str | None) -> str:
    """A text without case and superfluous blanks."""
    return " ".join((text or "").casefold().split())


def pair_key(query: str, product: Product) -> PairKey:
    """Equal for two pairs that a cache might take for one."""
    return text_key(query), text_key(product.get("title"))


def distinct_requests(requests: Iterable[ScoreRequest], count: int, source: str) -> list[ScoreRequest]:
    """The first `count` requests of which none holds a pair twice, or one of an earlier request; the others are left.

    Raises:
        TrafficError: there are fewer.
    """
    seen: set[PairKey] = set()
    chosen: list[ScoreRequest] = []
    for request in requests:
        if len(chosen) == count:
            break
        keys = {pair_key(request.query, product) for product in request.products}
        if len(keys) == len(request.products) and seen.isdisjoint(keys):
            seen |= keys
            chosen.append(request)
    if len(chosen) < count:
        raise TrafficError(
            f"{source}: expected {count} requests in which no pair comes twice, found {len(chosen)}; "
            "python -m loadtest traffic --distinct-pairs --requests N makes such a file"
        )
    return chosen

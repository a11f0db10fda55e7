"""Decides at a request's arrival whether it may enter the queue."""

from dataclasses import dataclass
from typing import Protocol

from .errors import OverloadedError


@dataclass(frozen=True, slots=True)
class Load:
    """What the queue holds as a request arrives."""

    queued_products: int


class Admission(Protocol):
    """An admission rule. Called on the event loop: it must not block."""

    def admit(self, products: int, deadline: float, now: float, load: Load) -> None:
        """Returns for a request that may enter.

        Args:
            products: how many products it brings.
            deadline: when its answer is due, on the monotonic clock, in seconds.
            now: the same clock.
            load: what is already there.

        Raises:
            OverloadedError: it may not, and when to try again.
        """
        ...


@dataclass(frozen=True, slots=True)
class BoundedQueue:
    """Admits while the products in the queue, waiting or in work, stay within a bound."""

    max_queued_products: int

    def admit(self, products: int, deadline: float, now: float, load: Load) -> None:  # noqa: ARG002
        """See Admission."""
        if load.queued_products + products > self.max_queued_products:
            raise OverloadedError(
                f"{load.queued_products} products are queued, and {products} more would pass the limit of "
                f"{self.max_queued_products}"
            )

"""The lanes of one device, and where a device has a lane of its own, those that prepare texts for it."""

from collections.abc import Callable
from dataclasses import dataclass

from .lanes import Lanes
from .metrics import Metrics


@dataclass(frozen=True, slots=True)
class Workers:
    """Started and stopped together.

    Attributes:
        pairs: run the pair stage.
        preparing: run the stages before it: the same on CPU, where all work shares the cores; others beside a GPU, so
            that it never waits for tokenising.
    """

    pairs: Lanes
    preparing: Lanes

    @classmethod
    def make(
        cls,
        pair_lanes: int,
        preparing_lanes: int,
        clock: Callable[[], float],
        metrics: Metrics,
        drained: Callable[[float, float], None],
        begin: Callable[[int], None] = lambda _: None,
    ) -> "Workers":
        """So many lanes for each; none for preparing means that the same lanes do both. The rest is as of Lanes."""
        pairs = Lanes(pair_lanes, clock, metrics, drained, begin=begin)
        if not preparing_lanes:
            return cls(pairs, pairs)
        return cls(pairs, Lanes(preparing_lanes, clock, metrics, drained, "prepare", begin))

    @property
    def apart(self) -> bool:
        """Whether preparing has lanes of its own."""
        return self.preparing is not self.pairs

    @property
    def count(self) -> int:
        """Lanes of both kinds."""
        return sum(lanes.count for lanes in self._all)

    @property
    def waiting(self) -> int:
        """Units that wait for a lane."""
        return sum(lanes.waiting for lanes in self._all)

    @property
    def busy(self) -> int:
        """Lanes that are at work."""
        return sum(lanes.busy for lanes in self._all)

    @property
    def worked_s(self) -> float:
        """Seconds of all lanes in units that they are done with."""
        return sum(lanes.worked_s for lanes in self._all)

    def alive(self) -> int:
        """Lanes that make progress."""
        return sum(lanes.alive() for lanes in self._all)

    def usable(self) -> bool:
        """Whether there is a lane of each kind that makes progress."""
        return all(lanes.alive() for lanes in self._all)

    def start(self) -> None:
        """Starts the threads."""
        for lanes in self._all:
            lanes.start()

    def stop(self) -> None:
        """Lets each lane finish its unit, and ends the jobs that wait."""
        for lanes in reversed(self._all):
            lanes.stop()

    @property
    def _all(self) -> tuple[Lanes, ...]:
        return (self.pairs, self.preparing) if self.apart else (self.pairs,)

"""The rated load: the highest rate at which nearly all requests are answered in time, found as `capacity` finds its."""

from collections.abc import Callable, Sequence

from ..capacity.bisection import Grid
from ..capacity.criteria import in_time
from ..capacity.search import confirm_rate, search_rate
from ..capacity.trials import Examiner, Pace, Trial
from ..client import Endpoint
from ..generator.plan import Plan, Played
from ..generator.process import play
from ..generator.wire import WireRequest

_GRID = Grid(1.05)
_CONFIRM_TIMES = 2.5
"""The confirmation is so many times as long as a trial: of many short ones, the one that held met a fast moment."""


def find_rated(
    endpoint: Endpoint,
    requests: Sequence[WireRequest],
    *,
    deadline_ms: float,
    share: float,
    step_s: float,
    steps: int,
    seed: int,
    max_lag_ms: float,
    say: Callable[[str], object],
    run: Callable[[Plan], Played] = play,
) -> tuple[float, list[Trial]]:
    """Requests a second, and what was tried: so many rates, each for so many seconds.

    The highest that held is tried again for longer, and where it does not hold then, lower ones. 0 where none held.
    Raises KeyboardInterrupt if a trial was stopped.
    """
    examiner = Examiner(
        endpoint,
        requests,
        in_time(deadline_ms, share),
        Pace(0, step_s, step_s),
        seed,
        max_lag_ms,
        say,
        repeats=1,
        settle_s=0.0,
        run=run,
    )
    bracket = search_rate(examiner, _GRID, examiner.closed_loop(step_s), tries=steps)
    if bracket.holds is None:
        return 0.0, examiner.trials
    confirmed = confirm_rate(examiner, _GRID, bracket.holds, _CONFIRM_TIMES)
    return 0.0 if confirmed.holds is None else _GRID.rate(confirmed.holds), examiner.trials

"""The whole search: a closed loop says where to look, bisection finds the bracket, a longer run confirms its lower end.

`capacity` asks for all of it; `overload` for the bracket alone, to know what 1x is.
"""

from dataclasses import dataclass, field

from .bisection import Bracket, Grid, find_bracket
from .trials import Examiner

_START_SHARE = 0.7
"""Of a closed loop's rate: where open arrivals usually still hold."""
LOWEST, HIGHEST = 0.05, 5000.0
"""Requests a second that are tried."""
_RECHECKS = 2
CONFIRMATIONS = 8
"""Rates that are tried to confirm one, at most."""


@dataclass(slots=True)
class Answer:
    """What was found; rates are requests a second, None where there is none."""

    closed_loop: float
    holds: float | None = None
    """The highest that held, and was confirmed if that was asked for."""
    breaks: float | None = None
    """The lowest above it that did not hold."""
    confirmed: bool = False
    checks: dict[float, bool] = field(default_factory=dict)
    """Share of the answer -> whether it held."""


def search_rate(
    examiner: Examiner,
    grid: Grid,
    closed_loop: float,
    *,
    tries: int = 1000,
    highest: float = HIGHEST,
    rechecks: int = 0,
) -> Bracket:
    """The bracket on the grid, from 0.7 times what a closed loop got through.

    `rechecks`: so many times at most the upper end is tried again, and if it holds then, the search goes on above it:
    one stumble of the machine must not decide.
    """
    least, most = grid.below(LOWEST) + 1, grid.below(highest)
    if closed_loop <= 0:
        return Bracket()
    start = grid.below(_START_SHARE * closed_loop)

    def holds(number: int) -> bool:
        return examiner.holds(grid.rate(number))

    bracket = find_bracket(holds, start, least=least, most=most, tries=tries)
    for _ in range(rechecks):
        if bracket.holds is None or bracket.breaks is None or not holds(bracket.breaks):
            break
        held = bracket.breaks
        if held == most:
            return Bracket(held, None)
        above = find_bracket(holds, held + 1, least=held + 1, most=most, leap=1)
        bracket = Bracket(held if above.holds is None else above.holds, above.breaks)
    return bracket


def confirm_rate(examiner: Examiner, grid: Grid, number: int, times: float) -> Bracket:
    """Tries a rate that held again, so many times as long and with other arrivals; where it fails, lower ones."""
    return find_bracket(
        lambda number: examiner.holds(grid.rate(number), "confirmation", times=times, seed=examiner.seed + 1),
        number,
        least=grid.below(LOWEST) + 1,
        most=number,
        tries=CONFIRMATIONS,
        leap=1,
    )


def find_capacity(
    examiner: Examiner,
    grid: Grid,
    answer: Answer,
    *,
    confirm_times: float,
    checks: tuple[float, ...] = (),
    highest: float = HIGHEST,
) -> None:
    """Fills `answer`, whose closed loop is known, so that what was found before an interruption stays.

    Args:
        examiner: tries the rates.
        grid: of rates.
        answer: what is filled.
        confirm_times: the confirmation is so many times as long as a trial of the search, with other arrivals. Where it
            fails, it goes down the grid by 1 step, then 2, then 4 ..., until one holds, and halves what lies between.
        checks: shares of the answer that are tried too, each with arrivals of its own.
        highest: the search tries none above, requests a second.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    bracket = search_rate(examiner, grid, answer.closed_loop, highest=highest, rechecks=_RECHECKS)
    answer.breaks = None if bracket.breaks is None else grid.rate(bracket.breaks)
    if bracket.holds is None:
        return
    # Provisional, for a run that is interrupted.
    answer.holds = grid.rate(bracket.holds)
    confirmed = confirm_rate(examiner, grid, bracket.holds, confirm_times)
    answer.confirmed = confirmed.holds is not None
    answer.holds = None if confirmed.holds is None else grid.rate(confirmed.holds)
    if confirmed.breaks is not None:
        answer.breaks = grid.rate(confirmed.breaks)
    if answer.holds is None:
        return
    for place, share in enumerate(checks):
        answer.checks[share] = examiner.holds(
            share * answer.holds, f"check at {share:.0%}", times=confirm_times, seed=examiner.seed + 2 + place
        )

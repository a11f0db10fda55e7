"""What the setting `planted_faults` may say: comma-separated faults, such as `pace:10,nan@5`.

    handler-sleep:MS    every scoring request sleeps in its handler
    load-sleep:MS       the model takes longer to load
    pace:MS             no micro-batch of the pair stage takes less: the machine's speed does not matter
    serial-lanes        lanes hold one lock while they run the model
    no-deadlines        deadlines are read and then ignored
    lane-hung:MS@N      the Nth micro-batch after the start hangs
    lane-killed@N       the Nth raises what ends a thread
    exception@N         the Nth raises what ONNX Runtime raises
    nan@N               the Nth gives NaN

Faults with N happen once; N counts from 1 over all lanes and models. A fault may be named several times.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "handler-sleep",
    "load-sleep",
    "pace",
    "serial-lanes",
    "no-deadlines",
    "lane-hung",
    "lane-killed",
    "exception",
    "nan",
]

_FAULT = re.compile(r"([a-z-]+)(?::([0-9]{1,6}))?(?:@([0-9]{1,9}))?")
_WITH_MS = ("handler-sleep", "load-sleep", "pace", "lane-hung")
_WITH_RUN = ("lane-hung", "lane-killed", "exception", "nan")


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them. `seconds` and `run` are 0 for faults without."""

    kind: str
    seconds: float = 0.0
    run: int = 0


def parse_faults(text: str) -> tuple[Fault, ...]:
    """The faults of a setting; none of an empty one.

    Raises:
        ValueError: it says something else.
    """
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def _parse(part: str) -> Fault:
    match = _FAULT.fullmatch(part)
    if match is None or match[1] not in get_args(Kind):
        raise ValueError(f"{part!r}: expected one of {', '.join(get_args(Kind))}")
    kind, milliseconds, run = match[1], match[2], match[3]
    form = kind + (":MS" if kind in _WITH_MS else "") + ("@N, N from 1" if kind in _WITH_RUN else "")
    if (milliseconds is not None) != (kind in _WITH_MS) or (run is not None) != (kind in _WITH_RUN) or run == "0":
        raise ValueError(f"{part!r}: expected {form}")
    return Fault(kind, int(milliseconds or 0) / 1000, int(run or 0))

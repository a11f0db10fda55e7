"""The stages of a request, from the times that were taken of it anyway."""

from dataclasses import dataclass

from ..context import RequestInfo
from ..job import StageTimes

RECEIVE, ADMISSION, QUEUE = "receive", "admission", "queue"
TOKENISE, ENCODE, INFERENCE = "tokenise", "encode", "inference"


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a request's time, on the monotonic clock, in seconds."""

    name: str
    started: float
    ended: float


def stages_of(info: RequestInfo, ended: float) -> list[Stage]:
    """The stages that a request came to, in the order of their beginnings; one that was cut off ends with the request.

    `queue` comes twice: waiting for a lane to prepare the products, and for one to score them. The stages of a partial
    answer overlap: its first products are scored while the next are prepared.
    """
    stages: list[tuple[str, float, float | None]] = [(RECEIVE, info.arrival, info.received)]
    if info.received is not None:
        stages.append((ADMISSION, info.received, _admission_ended(info)))
    if info.times is not None and info.admitted is not None:
        stages += _of_work(info, info.times, _begun(info.admitted, info.times))
    made = [Stage(name, started, ended if end is None else min(end, ended)) for name, started, end in stages]
    return sorted((stage for stage in made if stage.started <= stage.ended), key=lambda stage: stage.started)


def _admission_ended(info: RequestInfo) -> float | None:
    """None of a request that was refused: all the rest of its time went into that."""
    if info.times is None or info.admitted is None:
        return None
    return _begun(info.admitted, info.times)


def _begun(admitted: float, times: StageTimes) -> float:
    # A lane may be quicker than the event loop is to note that it was admitted.
    return admitted if times.prepare_started is None else min(admitted, times.prepare_started)


def _of_work(info: RequestInfo, times: StageTimes, admitted: float) -> list[tuple[str, float, float | None]]:
    if times.prepare_started is None:
        # All its scores were known, or no lane came to it.
        return [] if info.log_fields.get("complete") else [(QUEUE, admitted, None)]
    encodes = times.encode_started is not None
    stages: list[tuple[str, float, float | None]] = [
        (QUEUE, admitted, times.prepare_started),
        (TOKENISE, times.prepare_started, times.recall_ended if encodes else times.prepare_ended),
    ]
    if times.encode_started is not None:
        stages.append((ENCODE, times.encode_started, times.encode_ended))
    if times.prepare_ended is not None and (times.pairs_started is None or times.pairs_started > times.prepare_ended):
        stages.append((QUEUE, times.prepare_ended, times.pairs_started))
    if times.pairs_started is not None:
        stages.append((INFERENCE, times.pairs_started, times.pairs_ended))
    return stages

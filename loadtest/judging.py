"""What an answer to POST /score amounts to."""

import json
import sys
from dataclasses import dataclass
from typing import Any

from .measure import Outcome


@dataclass(frozen=True, slots=True)
class Judged:
    """An outcome, and why where it is a failure."""

    outcome: Outcome
    reason: str | None = None
    model_version: str | None = None


def judge(status: int, body: bytes, products: int, version_header: str | None = None) -> Judged:
    """Of an answer to a request of so many products; `version_header` is its x-model-version."""
    match status:
        case 200:
            return _judge_scores(body, products, version_header)
        case 503:
            return Judged(Outcome.SHED)
        case 504:
            return Judged(Outcome.LATE)
        case _:
            return Judged(Outcome.FAILED, f"status {status}")


def _judge_scores(body: bytes, products: int, version_header: str | None) -> Judged:
    try:
        contents = json.loads(body)
        scores = contents["scores"]
        version = contents["model"]["version"]
        complete = contents["complete"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return Judged(Outcome.FAILED, "status 200 without scores")
    if not isinstance(scores, list) or len(scores) != products:
        return Judged(Outcome.FAILED, "status 200 with another number of scores than of products", version)
    if version_header not in (None, version):
        return Judged(Outcome.FAILED, "status 200 with one model version in the head and another in the body", version)
    if complete is not True:
        return Judged(Outcome.LATE, None, version)
    if not all(map(_is_score, scores)):
        return Judged(Outcome.FAILED, "status 200, complete, with a score that is no number", version)
    return Judged(Outcome.ACCEPTED, None, version)


def _is_score(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max

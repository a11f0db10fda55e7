"""What an answer to POST /score amounts to."""

import json
from dataclasses import dataclass

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
    except (ValueError, KeyError, TypeError):
        return Judged(Outcome.FAILED, "status 200 without scores")
    if not isinstance(scores, list) or len(scores) != products:
        return Judged(Outcome.FAILED, "status 200 with another number of scores than of products", version)
    if version_header not in (None, version):
        return Judged(Outcome.FAILED, "status 200 with one model version in the head and another in the body", version)
    return Judged(Outcome.ACCEPTED if complete else Outcome.LATE, None, version)

"""What is written down of a sampled request: a line for each pair that has a score."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from pydantic_core import to_json

from artifact import Manifest
from artifact.audited import FORMAT

from ..job import Job

ROUTE = "/score"
MAX_FIELD_CHARS = 4000
"""The contract's limit of every field but the title, which has none."""

LOGIT_DECIMALS, SCORE_DECIMALS = 6, 8


@dataclass(frozen=True, slots=True)
class Sampled:
    """An answered request.

    Attributes:
        job: ended.
        model: by which name it was scored.
        manifest: of the artifact that scored it.
        answered: seconds since 1970.
    """

    job: Job
    model: str
    manifest: Manifest
    answered: float


def lines(sampled: Sampled) -> Iterator[bytes]:
    """The lines of a request, in request order, each with its line break. A product without a score has none."""
    job, manifest = sampled.job, sampled.manifest
    template = manifest.template
    logits, scored = job.results()
    scores = manifest.calibration.scores(logits)
    rendered_query = template.render_query(job.query)
    head = {
        "format": FORMAT,
        "time": datetime.fromtimestamp(sampled.answered, UTC).isoformat(timespec="milliseconds"),
        "route": ROUTE,
        "request_id": job.request_id,
        "trace_id": job.trace_id,
        "model": sampled.model,
        "version": manifest.version,
        "query": job.query,
    }
    for position in np.flatnonzero(scored & np.isfinite(logits)).tolist():
        product = job.products[position]
        fields = {field.name: text[:MAX_FIELD_CHARS] for field in template.fields if (text := product.get(field.name))}
        pair = {
            "position": position,
            "product": fields,
            "text": {"query": rendered_query, "product": [text for text, _ in template.render_product(product)]},
            "logit": round(float(logits[position]), LOGIT_DECIMALS),
            "score": round(float(scores[position]), SCORE_DECIMALS),
        }
        yield to_json(head | pair) + b"\n"


def count(sampled: Sampled) -> int:
    """How many lines it has."""
    logits, scored = sampled.job.results()
    return int(np.count_nonzero(scored & np.isfinite(logits)))

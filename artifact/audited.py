"""The audit file: what a service wrote down of a pair that it scored, one JSON object a line, for a teacher to check.

The service writes such lines, gzipped, and the training package reads them. All pairs of a request stand together, in
request order, in one file.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .template import ProductField

AUDIT_PREFIX = "audit-"
AUDIT_SUFFIX = ".jsonl.gz"
"""Of a finished file, which never changes again."""

FORMAT = 1


class RenderedText(BaseModel):
    """What the model's template made of a pair, before it was tokenised and cut to its length in tokens."""

    model_config = ConfigDict(frozen=True)

    query: str
    product: tuple[str, ...]


class AuditedPair(BaseModel):
    """One scored pair. Fields that a later version adds are ignored.

    Attributes:
        time: when it was answered, UTC, ISO 8601.
        model: the name by which requests choose it.
        version: of the artifact that scored it.
        position: of the product in its request.
        product: the fields that the model's template reads, each as it was sent, up to 4,000 characters.
        logit, score: as they were answered.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1]
    time: str
    route: str
    request_id: str
    trace_id: str | None = None
    model: str
    version: str
    position: Annotated[int, Field(ge=0)]
    query: Annotated[str, Field(min_length=1)]
    product: dict[ProductField, str]
    text: RenderedText
    logit: Annotated[float, Field(allow_inf_nan=False)]
    score: Annotated[float, Field(ge=0, le=1)]

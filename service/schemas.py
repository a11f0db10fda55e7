"""The request and answer of POST /score, and the problem that stands for every error. Validates bytes directly."""

from typing import Annotated, NotRequired

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from artifact import PRODUCT_FIELDS

from .errors import InvalidRequestError, MalformedBodyError, Violation

MAX_FIELD_CHARS = 4000
MAX_VIOLATIONS = 20
MAX_POINTER_CHARS = 200

EXAMPLE_REQUEST: JsonDict = {
    "query": "usb c laptop charger",
    "products": [
        {"id": "B07", "title": "65W USB-C Charger for Laptops", "brand": "Anker", "color": "black"},
        {"id": "B11", "title": "Garden Hose 30 m", "brand": "Gardena"},
    ],
    "timeout_ms": 50,
    "partial": False,
}
EXAMPLE_RESPONSE: JsonDict = {
    "model": {"name": "default", "version": "1f3a5c7e9b2d4f60"},
    "scores": [0.93420011, 0.00841203],
    "logits": [2.653, -4.769],
    "complete": True,
}

Text = Annotated[str, StringConstraints(max_length=MAX_FIELD_CHARS)]
Query = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=512),
    Field(description="What the shopper typed; counted after trimming.", examples=["usb c laptop charger"]),
]


class ProductInput(TypedDict):
    """A candidate product. Fields that the model's template does not read are accepted and ignored."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    title: Annotated[str, Field(description="May be empty, and as long as the body's limit lets it.")]
    id: NotRequired[Annotated[Text | None, Field(description="For the caller alone; need not be unique.")]]
    brand: NotRequired[Text | None]
    color: NotRequired[Text | None]
    product_type: NotRequired[Text | None]
    gender: NotRequired[Text | None]
    description: NotRequired[Text | None]


class ScoreRequest(BaseModel):
    """One query and its candidate products."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, json_schema_extra={"examples": [EXAMPLE_REQUEST]}
    )

    query: Query
    products: list[ProductInput]
    timeout_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Deadline in milliseconds from the request's arrival; the server's own is the most."
    )
    partial: bool = Field(
        default=False, description="At the deadline, answer with what is scored, null for the rest, instead of 504."
    )
    model: str | None = Field(default=None, description="A loaded model's name; null is the default.")


class ModelName(BaseModel):
    """Which model scored."""

    name: str
    version: str


class ScoreResponse(BaseModel):
    """Scores in request order, one per product."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_RESPONSE]})

    model: ModelName
    scores: list[float | None] = Field(
        description="Calibrated probability of relevance in [0, 1]. Null: not scored before the deadline (`partial`), "
        "or the model gave no finite number for this product."
    )
    logits: list[float | None] = Field(description="The model's raw output; null where the score is.")
    complete: bool = Field(description="Whether every product has a score.")


class ProblemViolation(BaseModel):
    """One broken rule, and where."""

    pointer: str | None = Field(default=None, description="JSON pointer into the body.")
    header: str | None = Field(default=None, description="Or the header at fault.")
    expected: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[ProblemViolation] | None = None
    request_id: str


def score_request_model(max_products: int) -> type[ScoreRequest]:
    """ScoreRequest with the configured limit of products, so that the documentation states it too."""
    products = Annotated[list[ProductInput], Field(min_length=1, max_length=max_products)]
    return create_model("ScoreRequest", __base__=ScoreRequest, __doc__=ScoreRequest.__doc__, products=(products, ...))


def parse_score_request(model: type[ScoreRequest], body: bytes) -> ScoreRequest:
    """Parses and validates a body.

    Raises:
        MalformedBodyError: not JSON; lone surrogates and nesting beyond all reason are not JSON either.
        InvalidRequestError: JSON that breaks the schema.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        raise MalformedBodyError(found[0]["msg"])
    raise InvalidRequestError(
        [Violation(each["msg"], pointer=_pointer(each["loc"])) for each in found[:MAX_VIOLATIONS]]
    )


def _pointer(location: tuple[int | str, ...]) -> str:
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts)[:MAX_POINTER_CHARS]


assert set(ProductInput.__annotations__) == {"id", *PRODUCT_FIELDS}

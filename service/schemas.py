"""The request and answer of POST /score, and the problem that stands for every error. Validates bytes directly."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model
from pydantic.config import JsonDict
from pydantic_core import from_json
from typing_extensions import TypedDict

from artifact import PRODUCT_FIELDS

from .errors import InvalidRequestError, MalformedBodyError, Violation
from .json_bounds import check_values

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
NOT_BLANK = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
"""A character that trimming leaves: none of Unicode's white space, which \\s is not to every reader of the document."""

Query = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=512),
    Field(
        description="What the shopper typed; counted after trimming.",
        examples=["usb c laptop charger"],
        json_schema_extra={"pattern": NOT_BLANK},
    ),
]


class ProductInput(TypedDict):
    """A candidate product. Fields that the model's template does not read are accepted and ignored."""

    # Unknown fields are refused by parse_score_request: pydantic makes an error of each, and a body has room for so
    # many that this takes half a second and 300 MB.
    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        extra="allow", strict=True, json_schema_extra={"additionalProperties": False}
    )

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
        extra="allow",
        strict=True,
        allow_inf_nan=False,
        json_schema_extra={"examples": [EXAMPLE_REQUEST], "additionalProperties": False},
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


NullReason = Literal["deadline", "not_finite"]


class ModelName(BaseModel):
    """Which model scored."""

    name: str
    version: str


class ScoreResponse(BaseModel):
    """Scores in request order, one per product."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_RESPONSE], "additionalProperties": False})

    model: ModelName
    scores: list[Annotated[float, Field(ge=0, le=1)] | None] = Field(
        description="Calibrated probability of relevance in [0, 1]. Null: not scored before the deadline (`partial`), "
        "or the model gave no finite number for this product."
    )
    logits: list[float | None] = Field(description="The model's raw output; null where the score is.")
    complete: bool = Field(description="Whether every product has a score.")
    reasons: list[NullReason | None] = Field(
        default=[],
        description="Only where `complete` is false: why each null is null, null for products that have a score. "
        "`deadline`: not scored before it. `not_finite`: the model gave no finite number, a fault of ours.",
    )


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


def most_values(max_products: int) -> int:
    """Twice the keys and values that a request of so many products can have, so that one with too many products is
    told just that."""
    return 2 * (2 * max_products * (1 + len(PRODUCT_KEYS)) + 1024)


def parse_score_request(model: type[ScoreRequest], body: bytes, max_values: int) -> ScoreRequest:
    """Parses and validates a body of at most so many keys and values.

    Raises:
        MalformedBodyError: not JSON; lone surrogates, and more nesting or values than there is reason for, are not.
        InvalidRequestError: JSON that breaks the schema.
    """
    check_values(body, max_values)
    violations: list[Violation] = []
    unknown: Iterable[tuple[int | str, ...]]
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if found[0]["type"] == "json_invalid":
            raise MalformedBodyError(found[0]["msg"]) from None
        violations = [Violation(each["msg"], pointer=_pointer(each["loc"])) for each in found[:MAX_VIOLATIONS]]
        # A list far too long says enough, and is not walked.
        too_long = any(each["type"] == "too_long" for each in found)
        unknown = () if too_long else _unknown_fields(from_json(body))
    else:
        fields = set[str]().union(*request.products)
        if not request.model_extra and fields <= PRODUCT_KEYS:
            return request
        unknown = _unknown_fields({**(request.model_extra or {}), "products": request.products})
    violations += [Violation("Extra inputs are not permitted", pointer=_pointer(where)) for where in unknown]
    raise InvalidRequestError(violations[:MAX_VIOLATIONS])


def _unknown_fields(body: object) -> Iterable[tuple[int | str, ...]]:
    """Where the first unknown fields are, in a body of whatever shape."""
    return islice(_all_unknown_fields(body), MAX_VIOLATIONS)


def _all_unknown_fields(body: object) -> Iterator[tuple[int | str, ...]]:
    if not isinstance(body, Mapping):
        return
    yield from ((name,) for name in body if name not in ScoreRequest.model_fields)
    products: Any = body.get("products")
    for index, product in enumerate(products if isinstance(products, list) else ()):
        if isinstance(product, Mapping) and not product.keys() <= PRODUCT_KEYS:
            yield from (("products", index, name) for name in product if name not in PRODUCT_KEYS)


def _pointer(location: tuple[int | str, ...]) -> str:
    parts = [str(part)[:MAX_POINTER_CHARS].replace("~", "~0").replace("/", "~1") for part in location]
    return "".join(f"/{part}" for part in parts)[:MAX_POINTER_CHARS]


PRODUCT_KEYS = frozenset(ProductInput.__annotations__)
assert {"id", *PRODUCT_FIELDS} == PRODUCT_KEYS

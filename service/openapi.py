"""What /openapi.json says of POST /score and of errors: the route reads raw bytes, so nothing is inferred."""

from collections.abc import Collection, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from .deadline import MAX_HEADER_TIMEOUT_MS
from .problem import PROBLEM_TYPE
from .schemas import EXAMPLE_REQUEST, EXAMPLE_RESPONSE, Problem, ScoreResponse

REF = "#/components/schemas/{model}"

PROBLEMS: dict[int, tuple[str, str]] = {
    400: ("Not HTTP, not JSON, or not the compression it claims.", "Invalid JSON: EOF while parsing a value"),
    401: ("A key is configured and the request does not carry it.", "expected the header 'Authorization: Bearer KEY'"),
    404: ("Unknown route or model.", "expected a loaded model, such as 'default'; see GET /models"),
    405: ("The route does not take this method; `Allow` names those it takes.", "expected POST"),
    408: ("URL and headers took too long to arrive.", "the URL and headers took too long to arrive"),
    413: ("The body, as sent or decompressed, is over the limit.", "expected a body of at most 2097152 bytes"),
    415: (
        "Content other than application/json, or encoding than gzip.",
        "expected content-type: application/json",
    ),
    422: ("JSON or a timeout header that breaks the contract.", "/products/0/title: Field required"),
    431: ("URL and headers are over the limit.", "expected a URL and headers of at most 65536 bytes together"),
    500: ("Our fault; the log has it under the request id.", "the service failed on this request"),
    503: ("Overloaded, not ready or stopping. Try again after `Retry-After` seconds.", "the model is loading"),
    504: (
        "The deadline passed while working, and `partial` is false.",
        "the deadline passed",
    ),
}

DESCRIPTION = """Relevance scores of products for a search query, from a cross-encoder, under a deadline.

The deadline is the smallest of `timeout_ms`, the headers `x-request-timeout-ms` and `x-envoy-expected-rq-timeout-ms`,
and the server's own maximum, counted from the request's arrival. Every error is an RFC 9457 problem."""

EVERYWHERE = (400, 405, 408, 431, 500, 503)
"""What any route may answer: most of it comes before the route is known."""

REQUEST_ID_HEADER = {"x-request-id": "Echoed, or made."}

SCORE_HEADERS = {
    **REQUEST_ID_HEADER,
    "x-model-version": "Version of the model that scored.",
    "server-timing": "queue, tokenize, inference and total, in milliseconds.",
}

PROBLEM_HEADERS: dict[int, dict[str, tuple[str, str]]] = {
    401: {"www-authenticate": ("Bearer.", "string")},
    405: {"allow": ("The methods that the route takes.", "string")},
    503: {"retry-after": ("Seconds.", "integer")},
}

MILLISECONDS = {"type": "integer", "minimum": 1, "maximum": MAX_HEADER_TIMEOUT_MS}
REQUEST_HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "x-request-timeout-ms": ("Deadline in whole milliseconds, at least 1.", MILLISECONDS),
    "x-envoy-expected-rq-timeout-ms": ("The same, as Envoy sends it.", MILLISECONDS),
    "x-request-id": ("Echoed where it is up to 128 plain characters.", {"type": "string"}),
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can fail with these statuses, beside those of every route."""
    return {status: _problem(status) for status in sorted({*EVERYWHERE, *statuses})}


def answers(model: type[BaseModel] | None, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that succeeds with this model, or with text of one of these types."""
    answer: dict[str, Any] = {"description": "As it is at present.", "headers": _headers(REQUEST_ID_HEADER)}
    if model is None:
        return {200: {**answer, "content": {each: {"schema": {"type": "string"}} for each in media_types}}}
    return {200: {**answer, "model": model}}


def _score_route() -> APIRoute:
    """Stands for POST /score in the documentation; the app answers it without FastAPI."""
    response = {
        "description": "Scores in request order.",
        "headers": _headers(SCORE_HEADERS),
        "content": {"application/json": {"schema": _ref("ScoreResponse"), "example": EXAMPLE_RESPONSE}},
    }
    request_body = {
        "required": True,
        "content": {"application/json": {"schema": _ref("ScoreRequest"), "example": EXAMPLE_REQUEST}},
    }
    parameters = [
        {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
        for name, (text, schema) in REQUEST_HEADERS.items()
    ]
    return APIRoute(
        "/score",
        lambda: None,
        methods=["POST"],
        name="score",
        summary="Score products for a query",
        responses={200: response, **problems(*PROBLEMS)},
        openapi_extra={"requestBody": request_body, "parameters": parameters},
    )


def install_openapi(
    app: FastAPI, request_model: type[BaseModel], *, needs_key: bool, open_paths: Collection[str]
) -> None:
    """Has the app document itself with the schemas that its raw routes use.

    Args:
        app: whose document it is.
        request_model: of POST /score.
        needs_key: whether keys are configured.
        open_paths: paths that need none all the same.
    """

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            routes = [_score_route(), *app.routes]
            schema = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=routes)
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {}).update(_schemas(request_model, ScoreResponse, Problem))
            if needs_key:
                components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                for path, route in schema["paths"].items():
                    if path not in open_paths:
                        for operation in route.values():
                            operation["security"] = [{"key": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]


def _schemas(*models: type[BaseModel]) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(ref_template=REF)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    return schemas


def _problem(status: int) -> dict[str, Any]:
    description, detail = PROBLEMS[status]
    example: dict[str, Any] = {"type": "about:blank", "title": "…", "status": status, "detail": detail}
    if status == 422:
        example["errors"] = [{"pointer": "/products/0/title", "expected": "Field required"}]
    example["request_id"] = "5b1f6d1c0f0b4f0c9a3e"
    answer: dict[str, Any] = {
        "description": description,
        "content": {PROBLEM_TYPE: {"schema": _ref("Problem"), "example": example}},
    }
    own = PROBLEM_HEADERS.get(status, {})
    answer["headers"] = _headers(REQUEST_ID_HEADER) | {
        name: {"description": text, "required": True, "schema": {"type": kind}} for name, (text, kind) in own.items()
    }
    return answer


def _headers(described: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"description": text, "required": True, "schema": {"type": "string", "minLength": 1}}
        for name, text in described.items()
    }


def _ref(model: str) -> dict[str, str]:
    return {"$ref": REF.format(model=model)}

"""Renders errors as RFC 9457 problems."""

from pydantic_core import to_json

from .answer import Answer, answer
from .errors import ServiceError, status_and_title

PROBLEM_TYPE = "application/problem+json"


def problem_answer(error: ServiceError, request_id: str) -> Answer:
    """An `application/problem+json` answer with the error's status and headers."""
    status, title = status_and_title(error)
    content: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "detail": error.detail}
    if error.violations:
        content["errors"] = [violation.as_dict() for violation in error.violations]
    content["request_id"] = request_id
    return answer(status, PROBLEM_TYPE, to_json(content), error.headers)

"""Structured logs on stderr: one line per event, text or JSON, the request id in each that belongs to a request."""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic_core import to_json

from .context import current_request_id

PLAIN = re.compile(r"[!#-<>-~]+")
"""Printable ASCII without space, quote and equals sign."""


def configure_logging(log_format: Literal["text", "json"], level: str) -> None:
    """Sends every log of the process to stderr in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Its start and stop lines repeat ours.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        return to_json(_event(self, record), inf_nan_mode="strings", serialize_unknown=True).decode()


class TextFormatter(logging.Formatter):
    """`time LEVEL message key=value ...`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        event = _event(self, record)
        head = f"{event.pop('time')} {event.pop('level'):7} {event.pop('message')}"
        event.pop("logger")
        trace = event.pop("exception", None)
        fields = "".join(f" {key}={_value(value)}" for key, value in event.items())
        return f"{head}{fields}" + (f"\n{trace}" if trace else "")


def _event(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    event: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "message": record.getMessage(),
    }
    request_id = current_request_id.get()
    if request_id is not None:
        event["request_id"] = request_id
    event.update(getattr(record, "fields", {}))
    if record.exc_info:
        event["exception"] = formatter.formatException(record.exc_info)
    return event


def _value(value: object) -> str:
    """Text as it is where it is plain; quoted and escaped where it could be taken for another field or line."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else to_json(text).decode()

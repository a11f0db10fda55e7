"""Structured logs on stderr: one line per event, text or JSON, the request id in each that belongs to a request.

Whoever reads stderr must not be able to stop the service: a line that would have to wait, or finds the disk full, is
dropped and counted.
"""

import logging
import os
import re
import select
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic_core import to_json

from .context import current_request_id

PLAIN = re.compile(r"[!#-<>-~]+")
"""Printable ASCII without space, quote and equals sign."""


PIECE_BYTES = 4096
"""A pipe that can be written to takes this many without a wait (Linux: a page, of which one is free)."""


def configure_logging(log_format: Literal["text", "json"], level: str) -> "UnhurriedHandler":
    """Sends every log of the process to stderr in one format."""
    # Without a stderr, its number may be that of a socket.
    handler = UnhurriedHandler(sys.stderr.fileno() if sys.stderr is not None else None)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Its start and stop lines repeat ours.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return handler


class UnhurriedHandler(logging.Handler):
    """Writes to a file descriptor what it takes at once, and drops other lines.

    Args:
        descriptor: which stays as it is: to make it non-blocking would do so for every process that shares it. None
            drops everything.

    Attributes:
        dropped: lines that were not written, or not to their end.
    """

    def __init__(self, descriptor: int | None) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._writable = select.poll()
        if descriptor is not None:
            self._writable.register(descriptor, select.POLLOUT)
        self._cut = False

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock held."""
        try:
            text = self.format(record)
        except Exception as error:
            text = f"a line of {record.name} cannot be formatted: {error!r}"
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        if not self._write(b"\n" + line if self._cut else line):
            self.dropped += 1

    def _write(self, line: bytes) -> bool:
        written = 0
        if self._descriptor is None:
            return False
        try:
            while written < len(line) and self._writable.poll(0):
                written += os.write(self._descriptor, line[written : written + PIECE_BYTES])
        except OSError:
            # A full disk, or nobody at the other end.
            pass
        # What follows must not be taken for the rest of a line that broke off.
        self._cut = 0 < written < len(line) or (self._cut and not written)
        return written == len(line)


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

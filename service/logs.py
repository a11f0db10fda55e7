"""Structured logs on stderr: one line per event, text or JSON, the request id in each that belongs to a request.

Whoever reads stderr must not be able to stop the service: a line that would have to wait, or finds the disk full, is
dropped and counted. By default no line holds a text of a request: see `tracebacks`.
"""

import logging
import os
import re
import select
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic_core import to_json

from .context import current_request_id, current_trace_id
from .tracebacks import without_texts

PLAIN = re.compile(r"[!#-<>-~]+")
"""Printable ASCII without space, quote and equals sign."""


PIECE_BYTES = 4096
"""A pipe that can be written to takes this many without a wait (Linux: a page, of which one is free)."""


def configure_logging(log_format: Literal["text", "json"], level: str, *, texts: bool = False) -> "UnhurriedHandler":
    """Sends every log of the process to stderr in one format; `texts`: lines may quote queries and products."""
    # Without a stderr, its number may be that of a socket.
    handler = UnhurriedHandler(sys.stderr.fileno() if sys.stderr is not None else None)
    handler.setFormatter(JsonFormatter(texts=texts) if log_format == "json" else TextFormatter(texts=texts))
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
            text = f"a line of {record.name} cannot be formatted: {type(error).__name__}"
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


class EventFormatter(logging.Formatter):
    """A record as the fields of an event.

    Args:
        texts: whether messages of exceptions may quote what callers sent.
    """

    def __init__(self, *, texts: bool = False) -> None:
        super().__init__()
        self._texts = texts

    def event(self, record: logging.LogRecord) -> dict[str, Any]:
        """In the order in which they are shown."""
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._message(record),
        }
        for name, current in (("request_id", current_request_id), ("trace_id", current_trace_id)):
            if (value := current.get()) is not None:
                event[name] = value
        event.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            shown = self._texts or getattr(record, "of_no_request", False)
            error = record.exc_info[1]
            event["exception"] = self.formatException(record.exc_info) if shown else without_texts(error)
        return event

    def _message(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        # What follows shows what a task or a callback was given, and what it raised.
        return (
            re.split(r"[\n(]", message, maxsplit=1)[0].rstrip()
            if record.name == "asyncio" and not self._texts
            else message
        )


class JsonFormatter(EventFormatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        return to_json(self.event(record), inf_nan_mode="strings", serialize_unknown=True).decode()


class TextFormatter(EventFormatter):
    """`time LEVEL message key=value ...`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        event = self.event(record)
        head = f"{event.pop('time')} {event.pop('level'):7} {event.pop('message')}"
        event.pop("logger")
        trace = event.pop("exception", None)
        fields = "".join(f" {key}={_value(value)}" for key, value in event.items())
        return f"{head}{fields}" + (f"\n{trace}" if trace else "")


def _value(value: object) -> str:
    """Text as it is where it is plain; quoted and escaped where it could be taken for another field or line."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else to_json(text).decode()

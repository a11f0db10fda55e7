"""Renders exceptions for the log without what they may quote: texts of a caller's request.

`float("red shoes")` says in its message what it could not convert, and so may any library that is given a text. Frames
and types say where and what went wrong; messages are shown of those that cannot quote a text, and of all where the
operator allows it.
"""

import traceback
from collections.abc import Iterator

from artifact import ArtifactError

from .errors import InternalError

WITHHELD = "(withheld: it may quote a request; the setting log_texts shows it)"

TEXTLESS = (ArtifactError, InternalError, MemoryError, OSError)
TEXTLESS_MODULES = ("onnxruntime.", "service.planted.")
"""ONNX Runtime is given token ids, never texts."""

CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def without_texts(error: BaseException) -> str:
    """The exception and what led to it, first causes first, as Python prints them but for the messages."""
    return "".join(_lines(error, set())).rstrip("\n")


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield CAUSE if before is error.__cause__ else CONTEXT
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    yield f"{name}: {error if _is_textless(kind) else WITHHELD}\n"


def _is_textless(kind: type[BaseException]) -> bool:
    return issubclass(kind, TEXTLESS) or f"{kind.__module__}.".startswith(TEXTLESS_MODULES)

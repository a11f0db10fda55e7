"""The trace that a request belongs to, as its header `traceparent` says (W3C Trace Context)."""

import re
from collections.abc import Iterable

PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
MAX_PARENT_BYTES = 200
SAMPLED = 1


def sampled_trace_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """32 hexadecimal digits; None without a sound header, and of a trace that nobody keeps."""
    for name, value in headers:
        if name == b"traceparent" and len(value) <= MAX_PARENT_BYTES:
            found = PARENT.fullmatch(value)
            return found[1].decode("ascii") if found and int(found[2], 16) & SAMPLED else None
    return None

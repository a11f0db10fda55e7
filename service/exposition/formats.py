"""Which format a scraper gets, by its `Accept` header.

prometheus_client has such a choice of its own. It knows no protobuf, takes the first format named whatever the weights
say, and raises on a version that is no number.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from prometheus_client.metrics_core import Metric

from .protobuf import as_protobuf
from .text import as_text

FAMILY = "io.prometheus.client.MetricFamily"
MAX_RANGES = 20
"""What a header names behind these is not read."""


@dataclass(frozen=True, slots=True)
class Format:
    """How metrics are written."""

    content_type: str
    write: Callable[[Iterable[Metric]], bytes]

    @property
    def media_type(self) -> str:
        """Without its parameters."""
        return self.content_type.partition(";")[0]


TEXT = Format("text/plain; version=0.0.4; charset=utf-8", as_text)
OPENMETRICS = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", partial(as_text, openmetrics=True))
PROTOBUF = Format(f"application/vnd.google.protobuf; proto={FAMILY}; encoding=delimited", as_protobuf)
FORMATS = (TEXT, OPENMETRICS, PROTOBUF)


def choose_format(accept: str) -> Format:
    """That of the greatest weight, and of equals the first; text where the header names none that there is."""
    best, most = TEXT, 0.0
    for each in accept.split(",", MAX_RANGES)[:MAX_RANGES]:
        media_type, *given = (part.strip().lower() for part in each.split(";"))
        parameters = dict(part.split("=", 1) for part in given if "=" in part)
        named = _named(media_type, parameters)
        weight = _weight(parameters.get("q", "1"))
        if named is not None and weight > most:
            best, most = named, weight
    return best


def _named(media_type: str, parameters: dict[str, str]) -> Format | None:
    match media_type:
        case "application/vnd.google.protobuf":
            wanted = (parameters.get("proto"), parameters.get("encoding"))
            return PROTOBUF if wanted == (FAMILY.lower(), "delimited") else None
        case "application/openmetrics-text":
            return OPENMETRICS if parameters.get("version", "1.0.0") in ("1.0.0", "0.0.1") else None
        case "text/plain" | "text/*" | "*/*":
            return TEXT
        case _:
            return None


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0

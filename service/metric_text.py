"""Numbers and labels as Prometheus' text formats write them."""

from collections.abc import Mapping

from prometheus_client.utils import floatToGoString

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
PLAIN = 1_000_000
"""From here on numbers have an exponent."""


def as_go(value: float) -> str:
    """A number as Go writes it."""
    if type(value) is int and 0 <= value < PLAIN:
        return f"{value}.0"
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def show_labels(labels: Mapping[str, str]) -> str:
    """In braces, by their names; nothing of none."""
    if isinstance(labels, Labels):
        return labels.shown
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{labels[name].translate(ESCAPES)}"' for name in sorted(labels)]) + "}"


class Labels(dict[str, str]):
    """Those of a sample that comes again with every scrape: written once. They must not change.

    Attributes:
        shown: as `show_labels` shows them.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        super().__init__(labels)
        self.shown = show_labels(dict(labels))

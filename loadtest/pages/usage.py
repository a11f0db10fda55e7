"""What the server's process used, as lines of a page."""

from collections.abc import Sequence
from itertools import pairwise

from ..metering import Reading
from .page import Line

_MB = 1e6


def usage_lines(readings: Sequence[Reading]) -> list[Line]:
    """What the server's process used."""
    cores = [
        (now.at_s, (now.cpu_s - then.cpu_s) / (now.at_s - then.at_s))
        for then, now in pairwise(readings)
        if now.at_s > then.at_s
    ]
    return [
        Line("resident memory", "MB", [(each.at_s, each.rss_bytes / _MB) for each in readings]),
        Line("CPU", "cores", cores),
        Line(
            "open files and sockets",
            "",
            [(e.at_s, float(e.descriptors)) for e in readings if e.descriptors is not None],
        ),
        Line("threads", "", [(each.at_s, float(each.threads)) for each in readings if each.threads is not None]),
    ]

"""Quality against online time of several students, as a table and one picture: `python -m export front`."""

from .front import make_front

__all__ = ["make_front"]

"""The split student: the product side is computed once per product, the query meets it in a few small layers."""

from .model import SHAPE_FILE, SplitStudent
from .shared import Shared
from .start import start_split

__all__ = ["SHAPE_FILE", "Shared", "SplitStudent", "start_split"]

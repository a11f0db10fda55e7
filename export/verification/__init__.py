"""Checks of a finished artifact, and two artifacts side by side: `python -m export verify|compare`.

Reads artifacts as anybody's work: nothing of a file is run before its bytes, its graph and its tokenizer have passed.
"""

from .checks import Check, Checks
from .compare import compare
from .verification import Options
from .verify import verify

__all__ = ["Check", "Checks", "Options", "compare", "verify"]

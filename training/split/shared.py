"""What students of the same lists have in common, made once: shortened encoders, states under a frozen encoder."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..runs import locked


class Shared:
    """A folder of such work, which processes side by side may use. Delete it when the last student is trained.

    Args:
        folder: made when it is first needed.
        say: prints a line.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say

    @contextmanager
    def place(self, name: str, *made_from: str) -> Iterator[Path]:
        """The folder of one piece of work, for this process alone until it is left; waits where another is in it.

        Args:
            name: what it is.
            made_from: all that it depends on; another text is another folder.
        """
        digest = hashlib.sha256("\0".join(made_from).encode()).hexdigest()[:16]
        own = self._folder / f"{name}-{digest}"
        self._folder.mkdir(parents=True, exist_ok=True)
        waiting = partial(self._say, f"{own}: another process is at work on it; waiting for it ...")
        with locked(own.with_name(f"{own.name}.lock"), str(own), waiting):
            yield own

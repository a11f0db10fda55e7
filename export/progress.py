"""Progress lines on standard error."""

import sys
import time


class Progress:
    """Writes each line with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        sys.stderr.write(f"export {time.monotonic() - self._start:6.1f} s  {line}\n")
        sys.stderr.flush()

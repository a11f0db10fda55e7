"""Steps of a reproduction, each done once: a finished step leaves a file with what it found and how long it took."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..runs import commit, locked, read_json, write_json

Say = Callable[[str], None]


class Steps:
    """The steps of one world.

    Args:
        folder: gets one file per finished step.
        say: prints a line.
        clock: seconds, monotonic.
    """

    def __init__(self, folder: Path, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.say = say
        self.clock = clock

    def once(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What the step found, its `seconds` and its `commit`; works only if it is not finished.

        Seconds of tries that were stopped count as well. Where another process is at work on the step, waits for it.
        """
        path = self.folder / f"{name}.json"
        if path.exists():
            return read_json(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        waiting = partial(self.say, f"{name}: another process is at work on it; waiting for it ...")
        with locked(self.folder / f"{name}.lock", f"step {name} of {self.folder}", waiting):
            if path.exists():
                return read_json(path)
            return self._work(name, path, work)

    def _work(self, name: str, path: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        spent_path = self.folder / f"{name}.spent"
        before = float(spent_path.read_text()) if spent_path.exists() else 0.0
        self.say(f"{name} ..." if not before else f"{name}, {before:.0f} s of it done before ...")
        start = self.clock()
        try:
            found = work()
        except BaseException:
            spent_path.write_text(f"{before + self.clock() - start:.1f}")
            raise
        seconds = round(before + self.clock() - start, 1)
        result = {**found, "seconds": seconds, "commit": commit()}
        write_json(path, result)
        spent_path.unlink(missing_ok=True)
        self.say(f"{name}: done in {seconds:.0f} s")
        return result

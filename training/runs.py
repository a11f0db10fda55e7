"""A run's folder: configuration, seed, commit, durations, and where each stage keeps what it makes."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .config import Config
from .errors import TrainingError


@dataclass(frozen=True, slots=True)
class Run:
    """A run, opened by `open_run`."""

    folder: Path
    config: Config
    data: Path

    @property
    def teacher(self) -> Path:
        """Checkpoint of the finished teacher."""
        return self.folder / "teacher"

    @property
    def mined(self) -> Path:
        """Unlabelled candidate lists."""
        return self.folder / "mined"

    def labelled(self, labels: str) -> Path:
        """Candidate lists with logits by `similarity` or `teacher`."""
        return self.folder / "labelled" / labels

    @property
    def student(self) -> Path:
        """Checkpoint of the finished student."""
        return self.folder / "student"

    def work(self, stage: str) -> Path:
        """Unfinished work of a stage: checkpoints for resuming, metrics."""
        return self.folder / "work" / stage

    def facts(self) -> dict[str, Any]:
        """Seed, commit, date and durations so far."""
        facts: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return facts

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Notes the commit, and adds the stage's wall-clock seconds to the durations, also when it is interrupted."""
        write_json(self.folder / "run.json", {**self.facts(), "commit": commit()})
        start = time.monotonic()
        try:
            yield
        finally:
            facts = self.facts()
            spent = facts["durations_s"].get(stage, 0.0) + time.monotonic() - start
            facts["durations_s"][stage] = round(spent, 1)
            write_json(self.folder / "run.json", facts)


def open_run(folder: Path, config: Config, data: Path) -> Run:
    """Makes a run's folder, or goes on with it if it was made with the same configuration.

    Raises:
        TrainingError: the folder holds a run of another configuration, or something else.
    """
    path = folder / "config.json"
    wanted = config.model_dump(mode="json")
    if path.exists():
        if json.loads(path.read_text()) != wanted:
            raise TrainingError(f"{folder}: holds a run of another configuration; choose another --run, or delete it")
    elif folder.exists() and any(folder.iterdir()):
        raise TrainingError(f"{folder}: is not empty and is no run; choose another --run")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        created = datetime.now(UTC).date().isoformat()
        facts: dict[str, Any] = {"seed": config.seed, "commit": None, "created": created, "durations_s": {}}
        write_json(folder / "run.json", facts)
        write_json(path, wanted)
    return Run(folder, config, data)


def read_run(folder: Path, data: Path) -> Run:
    """Opens a run that exists.

    Raises:
        TrainingError: there is none.
    """
    path = folder / "config.json"
    if not path.exists():
        raise TrainingError(f"{folder}: expected the folder of a run, found no config.json in it")
    return Run(folder, Config.model_validate_json(path.read_text()), data)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(path)


def commit() -> str | None:
    """The commit of the code, with `-dirty` after it if files of it were changed since; None outside a repository."""
    root = Path(__file__).parent.parent
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", "artifact", "training")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head}-dirty" if changed else head


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603

"""A run's folder: configuration, seed, data, commits, durations, and where each stage keeps what it makes."""

import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from artifact.loading import sha256_of

from .config import Config, Evaluation
from .errors import TrainingError

CONFIG_FILE = "config.json"
FACTS_FILE = "run.json"


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
        """Seed, date, hashes of the data files, and of each stage so far its commit and its seconds."""
        return read_json(self.folder / FACTS_FILE)

    def note(self, stage: str, seconds: float, commit: str | None) -> None:
        """Adds a stage's wall-clock seconds, and by which commit it was worked on last."""
        facts = self.facts()
        durations, commits = facts["durations_s"], facts.setdefault("commits", {})
        durations[stage] = round(durations.get(stage, 0.0) + seconds, 1)
        commits[stage] = commit
        write_json(self.folder / FACTS_FILE, facts)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from working in the folder; a kill frees it.

        Raises:
            TrainingError: another process is at work in it.
        """
        with locked(self.folder / "lock", str(self.folder)):
            yield


def open_run(folder: Path, config: Config, data: Path) -> Run:
    """Makes a run's folder, or goes on with it if it was made with the same configuration.

    The student's settings may change for as long as its training has not begun: labels do not depend on them. All else
    may change, files too, for as long as no stage but the reading of data has begun.

    Raises:
        TrainingError: the folder holds a run of another configuration or of other data, or something else; or a data
            file is missing.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        if folder.exists() and any(entry.name != FACTS_FILE for entry in folder.iterdir()):
            raise TrainingError(f"{folder}: is not empty and is no run; choose another --run")
        return _write_new(folder, config, data)
    if _is_bare(folder):
        return _write_again(folder, config, data)
    run = read_run(folder, data)
    if run.config == _lasting(config):
        return run
    if run.config != _lasting(config.model_copy(update={"student": run.config.student})):
        raise TrainingError(f"{folder}: holds a run of another configuration; choose another --run, or delete it")
    with run.locked():
        begun = [place for place in (run.student, run.work("student")) if place.exists()]
        if begun:
            raise TrainingError(
                f"{folder}: its student was begun with other settings; to train one with these on the same labels, "
                f"move or delete {' and '.join(str(place) for place in begun)}, or else choose another --run"
            )
        write_json(path, _lasting(config).model_dump(mode="json"))
    return Run(folder, _lasting(config), data)


def _is_bare(folder: Path) -> bool:
    """Whether no stage is finished or begun but the reading of data, which may have met a mistake in them."""
    entries = {entry.name for entry in folder.iterdir()}
    work = {entry.name for entry in (folder / "work").iterdir()} if "work" in entries else set()
    read = (folder / "data" / "done.json").exists()
    return not read and work <= {"data"} and entries <= {CONFIG_FILE, FACTS_FILE, "lock", "data", "work"}


def _write_again(folder: Path, config: Config, data: Path) -> Run:
    """Makes a bare run anew unless its configuration and its data are what they were."""
    try:
        run = read_run(folder, data)
        if run.config == _lasting(config):
            return run
    except TrainingError:  # its data or its settings were mended since
        pass
    with Run(folder, config, data).locked():
        shutil.rmtree(folder / "data", ignore_errors=True)
        shutil.rmtree(folder / "work", ignore_errors=True)
        return _write_new(folder, config, data)


def _write_new(folder: Path, config: Config, data: Path) -> Run:
    hashes = _hashes(config, data)
    folder.mkdir(parents=True, exist_ok=True)
    created = datetime.now(UTC).date().isoformat()
    facts = {"seed": config.seed, "created": created, "files": hashes, "durations_s": {}, "commits": {}}
    write_json(folder / FACTS_FILE, facts)
    write_json(folder / CONFIG_FILE, _lasting(config).model_dump(mode="json"))
    return Run(folder, config, data)


def _lasting(config: Config) -> Config:
    """What decides a run's outcome: how it is measured may change."""
    return config.model_copy(update={"evaluation": Evaluation()})


@contextmanager
def locked(path: Path, what: str, wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds a file's lock, which a kill frees.

    Args:
        path: the file, made if it is not there.
        what: named if another process holds it.
        wait: called, if another process holds it, before waiting for that; None: do not wait.

    Raises:
        TrainingError: another process holds it: it is at work on `what`.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                raise TrainingError(f"{what}: another process is at work in it; wait for it") from None
            wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_run(folder: Path, data: Path, *, needs_data: bool = True) -> Run:
    """Opens a run that exists; the data need not be at hand for what does not read them.

    Raises:
        TrainingError: there is none, or it was made from other data.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        raise TrainingError(f"{folder}: expected the folder of a run, found no {CONFIG_FILE} in it")
    try:
        run = Run(folder, Config.model_validate(read_json(path)), data)
    except ValidationError as error:
        raise TrainingError(f"{path}: expected the configuration of a run: {error.errors()[0]['msg']}") from error
    noted = run.facts().get("files")
    if noted is not None and needs_data:
        changed = sorted(name for name, found in _hashes(run.config, data).items() if noted.get(name) != found)
        if changed:
            raise TrainingError(
                f"{folder}: was made from other data: {data / changed[0]} is not the file that it was made from; "
                "give that data, or choose another --run"
            )
    return run


def _hashes(config: Config, data: Path) -> dict[str, str]:
    sources = [*config.data.judgements, *config.data.catalogues, *config.data.queries]
    names = [name for source in sources for name in source.files]
    hashes = {}
    for name in dict.fromkeys(names):
        try:
            hashes[name] = sha256_of(data / name)
        except FileNotFoundError:
            raise TrainingError(f"{data / name}: no such file; --data names the folder that holds it") from None
        except OSError as error:
            raise TrainingError(f"{data / name}: cannot be read: {error.strerror}") from error
    return hashes


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object that a run wrote.

    Raises:
        TrainingError: it is missing or damaged.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: missing or damaged: {error}") from error
    if not isinstance(content, dict):
        raise TrainingError(f"{path}: damaged: expected an object")
    return content


def write_json(path: Path, content: Any) -> None:
    """Writes JSON whole or not at all, making its folder."""
    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=1) + "\n")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a name to write to; what is written there takes the place of `path` at the end, or vanishes on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    try:
        yield new
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


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

"""What the training loop keeps on disk: the checkpoint to resume from, the best weights so far, the metrics."""

import json
import math
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import parallel
from .errors import TrainingError
from .parallel import processes
from .runs import replacing

CHECKPOINT_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The weights that a model is left with: after how many steps, their dev loss, how often it was missed since."""

    steps: int
    dev_loss: float | None = None
    misses: int = 0

    def against(self, dev_loss: float, steps: int) -> "Chosen":
        """The better of these weights and those of a later step."""
        if self.dev_loss is None or dev_loss < self.dev_loss:
            return Chosen(steps, dev_loss)
        return Chosen(self.steps, self.dev_loss, self.misses + 1)


class Checkpoints:
    """Atomic files of one fit: a kill or a full disk leaves those before. Frozen parameters are not kept.

    Args:
        folder: gets `checkpoint.pt`, `best-STEPS.pt` and `metrics.jsonl`.
        model: as `parallel.distribute` left it.
        optimiser: of its parameters.
    """

    def __init__(self, folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.folder, self.model, self.optimiser = folder, model, optimiser
        folder.mkdir(parents=True, exist_ok=True)

    def resume(self) -> tuple[int, Chosen]:
        """The step to go on with, and the best so far; drops the metrics of steps that will be done again.

        Raises:
            TrainingError: the checkpoint is damaged.
        """
        path = self.folder / CHECKPOINT_FILE
        start, best = 0, Chosen(0)
        if path.exists():
            state = _read(path)
            try:
                parallel.load_trainable_state(self.model, state["model"])
                parallel.load_optimiser_state(self.model, self.optimiser, state["optimiser"])
                start, best = int(state["step"]), Chosen(*state["best"])
            except Exception as error:  # the library raises many types
                raise TrainingError(f"{path}: damaged; delete it to start the stage again") from error
        if processes().main:
            _forget_after(self.folder / METRICS_FILE, start)
        parallel.wait()
        return start, best

    def save(self, step: int, best: Chosen) -> None:
        """Saves the state after `step` steps."""
        state = {
            "model": parallel.trainable_state(self.model),
            "optimiser": parallel.optimiser_state(self.model, self.optimiser),
            "step": step,
            "best": astuple(best),
        }
        self._write(self.folder / CHECKPOINT_FILE, state)

    def save_best(self, step: int, best: Chosen) -> None:
        """Saves the weights, which are the best, and the state; then forgets the best before.

        The checkpoint names the file of the best, so that a kill between the two leaves a pair that belongs together.
        """
        self._write(self._best(best), parallel.trainable_state(self.model))
        self.save(step, best)
        if processes().main:
            for path in self.folder.glob("best-*.pt"):
                if path != self._best(best):
                    path.unlink()

    def load_best(self, best: Chosen) -> None:
        """Puts the best weights into the model.

        Raises:
            TrainingError: their file is damaged or missing.
        """
        parallel.wait()
        path = self._best(best)
        try:
            parallel.load_trainable_state(self.model, _read(path))
        except (KeyError, RuntimeError) as error:
            raise TrainingError(f"{path}: damaged; delete its folder to start the stage again") from error

    def _best(self, best: Chosen) -> Path:
        return self.folder / f"best-{best.steps}.pt"

    @staticmethod
    def _write(path: Path, state: dict[str, Any]) -> None:
        if not processes().main:
            return
        try:
            with replacing(path) as new:
                torch.save(state, new)
        except RuntimeError as error:  # what the library makes of a full disk
            problem = str(error).strip().partition("\n")[0]
            raise TrainingError(f"{path}: cannot be written, is the disk full? {problem}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # the library raises many types
        raise TrainingError(f"{path}: damaged; delete it to start the stage again") from error
    return state


def _forget_after(path: Path, start: int) -> None:
    """Drops the records of steps that a resumed run is going to do again."""
    if path.exists():
        records = [line for line in path.read_text().splitlines() if _step_of(line) < start]
        with replacing(path) as new:
            new.write_text("".join(f"{line}\n" for line in records))


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except ValueError:  # a kill cut the line short
        return math.inf

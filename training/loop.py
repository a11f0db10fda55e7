"""The one training loop: AdamW, warm-up and decay, checkpoints, resume, progress.

A step's batch is a function of its number, so that a run which was killed goes on as if it had not been.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from .config import Optimisation
from .device import autocast, pick_device
from .errors import TrainingError
from .runs import replacing

CHECKPOINT_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.jsonl"


def fit(
    model: nn.Module,
    step_loss: Callable[[int], Tensor],
    steps: int,
    settings: Optimisation,
    folder: Path,
    seed: int,
    label: str,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Trains `model` in place for `steps` steps, going on from the folder's checkpoint if there is one.

    Args:
        model: moved to the device that is picked, left in training mode.
        step_loss: step number -> scalar loss of that step's batch.
        steps: total number of steps, those before a resume included.
        settings: optimiser, schedule and checkpoint interval.
        folder: gets `checkpoint.pt` (kept for resuming) and `metrics.jsonl`.
        seed: of dropout; with the step number it gives each step its own random state.
        label: shown beside the progress bar.
        clock: seconds, monotonic.

    Raises:
        TrainingError: a gradient is not finite, or a checkpoint is damaged or cannot be written.
    """
    device = pick_device()
    model.to(device).train()
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    folder.mkdir(parents=True, exist_ok=True)
    start = _resume(folder, model, optimiser)
    _forget_after(folder / METRICS_FILE, start)
    saved_at = clock()
    with (
        tqdm(total=steps, initial=start, desc=label, unit="step", mininterval=2, dynamic_ncols=True) as progress,
        (folder / METRICS_FILE).open("a") as metrics,
    ):
        for step in range(start, steps):
            torch.manual_seed(seed * 1_000_003 + step)
            rate = settings.learning_rate * schedule(step, steps, settings.warmup_share)
            for group in optimiser.param_groups:
                group["lr"] = rate
            with autocast(device, settings.precision):
                loss = step_loss(step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_([*decayed, *plain], settings.max_gradient_norm)
            if not torch.isfinite(norm):
                raise TrainingError(f"{label}, step {step}: the gradient is not finite; lower the learning rate")
            optimiser.step()
            progress.update()
            if step % 20 == 0 or step == steps - 1:
                record = {"step": step, "loss": loss.item(), "rate": rate, "gradient_norm": norm.item()}
                metrics.write(json.dumps(record) + "\n")
                progress.set_postfix(loss=f"{record['loss']:.4f}", refresh=False)
            if clock() - saved_at > settings.checkpoint_every_s or step == steps - 1:
                metrics.flush()
                _save(folder, model, optimiser, step + 1)
                saved_at = clock()


def shuffled_batch(step: int, size: int, total: int, *seed: int) -> NDArray[np.int64]:
    """Which of `total` examples a step's batch of `size` holds: every epoch draws an order and takes whole batches.

    Returns:
        Indices, shape (size,), the same for the same step and seed.
    """
    epoch, place = divmod(step, total // size)
    return np.random.default_rng((*seed, epoch)).permutation(total)[place * size : (place + 1) * size]


def schedule(step: int, steps: int, warmup_share: float) -> float:
    """Share of the learning rate at a step: a linear rise over the warm-up, then a linear fall towards 0."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1, steps - warmup)


def _resume(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])
    except Exception as error:  # the library raises many types
        raise TrainingError(f"{path}: damaged; delete it to start the stage again") from error


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


def _save(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Atomic: a kill or a full disk leaves the checkpoint before."""
    path = folder / CHECKPOINT_FILE
    try:
        with replacing(path) as new:
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, new)
    except RuntimeError as error:  # what the library makes of a full disk
        raise TrainingError(f"{path}: cannot be written, is the disk full? {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

"""The one training loop: AdamW, warm-up and decay, checkpoints, the best weights by a dev loss, resume, progress.

A step's batch is a function of its number, so that a run which was killed goes on as if it had not been.
"""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from . import parallel
from .checkpoints import CHECKPOINT_FILE, METRICS_FILE, Checkpoints, Chosen
from .config import Optimisation
from .device import autocast, pick_device
from .errors import TrainingError
from .parallel import processes

__all__ = ["CHECKPOINT_FILE", "METRICS_FILE", "Chosen", "Selection", "fit", "schedule", "shuffled_batch"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Keeps the weights of the lowest dev loss, measured every so many steps and after the last.

    Args:
        dev_loss: measures it; the same on every process.
        every_steps: how often.
        patience: after how many measurements in a row without a gain to stop; None: never.
    """

    dev_loss: Callable[[], float]
    every_steps: int
    patience: int | None = None

    def due(self, done: int, steps: int) -> bool:
        """Whether to measure after `done` of `steps` steps."""
        return done % self.every_steps == 0 or done == steps


def fit(
    model: nn.Module,
    step_loss: Callable[[int], Tensor],
    steps: int,
    settings: Optimisation,
    folder: Path,
    seed: int,
    label: str,
    clock: Callable[[], float] = time.monotonic,
    selection: Selection | None = None,
) -> Chosen:
    """Trains `model` in place for `steps` steps, going on from the folder's checkpoint if there is one.

    Of several processes each calls this: gradients are averaged over them, and the main one writes.

    Args:
        model: moved to the device that is picked, left in training mode.
        step_loss: step number -> scalar loss of that step's batch, or of this process's `parallel.share` of it.
        steps: total number of steps, those before a resume included.
        settings: optimiser, schedule and checkpoint interval.
        folder: gets `checkpoint.pt` (kept for resuming), `metrics.jsonl`, and with a selection `best-STEPS.pt`.
        seed: of dropout; with the step number it gives each step its own random state.
        label: shown beside the progress bar.
        clock: seconds, monotonic.
        selection: picks among the weights on the way; without one the last are kept.

    Returns:
        After how many steps the weights that the model is left with were reached, and their dev loss.

    Raises:
        TrainingError: a gradient or a dev loss is not finite, or a checkpoint is damaged or cannot be written.
    """
    device, here = pick_device(), processes()
    model.to(device).train()
    parallel.distribute(model)
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    checkpoints = Checkpoints(folder, model, optimiser)
    start, best = checkpoints.resume()
    saved_at = clock()
    with (
        tqdm(
            total=steps,
            initial=start,
            desc=label,
            unit="step",
            mininterval=2,
            dynamic_ncols=True,
            disable=not here.main,
        ) as progress,
        (folder / METRICS_FILE if here.main else Path(os.devnull)).open("a") as metrics,
    ):
        for step in range(start, steps):
            if selection is not None and selection.patience is not None and best.misses >= selection.patience:
                break
            # another state in each process, so that they do not drop the same places
            torch.manual_seed(seed * 1_000_003 + step + here.rank * 7_919_000_003)
            rate = settings.learning_rate * schedule(step, steps, settings.warmup_share)
            for group in optimiser.param_groups:
                group["lr"] = rate
            with autocast(device, settings.precision):
                loss = step_loss(step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            parallel.average_gradients([*decayed, *plain])
            norm = _whole(nn.utils.clip_grad_norm_([*decayed, *plain], settings.max_gradient_norm))
            if not torch.isfinite(norm):
                raise TrainingError(f"{label}, step {step}: the gradient is not finite; lower the learning rate")
            optimiser.step()
            progress.update()
            if step % 20 == 0 or step == steps - 1:
                record = {"step": step, "loss": parallel.mean(loss).item(), "rate": rate, "gradient_norm": norm.item()}
                metrics.write(json.dumps(record) + "\n")
                progress.set_postfix(_shown(record["loss"], best), refresh=False)
            save = parallel.agree(clock() - saved_at > settings.checkpoint_every_s) or step == steps - 1
            if selection is not None and selection.due(step + 1, steps):
                dev_loss = selection.dev_loss()
                model.train()
                if not math.isfinite(dev_loss):
                    raise TrainingError(f"{label}, step {step}: the dev loss is not finite; lower the learning rate")
                metrics.write(json.dumps({"step": step, "dev_loss": dev_loss}) + "\n")
                best = best.against(dev_loss, step + 1)
                save = True
            if save:
                metrics.flush()
                if best.steps == step + 1:
                    checkpoints.save_best(step + 1, best)
                else:
                    checkpoints.save(step + 1, best)
                saved_at = clock()
    if selection is None:
        return Chosen(steps)
    checkpoints.load_best(best)
    return best


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


def _shown(loss: float, best: Chosen) -> dict[str, str]:
    shown = {"loss": f"{loss:.4f}"}
    return shown if best.dev_loss is None else {**shown, "dev": f"{best.dev_loss:.4f} at {best.steps}"}


def _whole(norm: Tensor) -> Tensor:
    """The norm over all shards."""
    whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return whole

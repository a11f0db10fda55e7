"""Several processes that train one model: who is who, a process's share of a batch, gradients, sharded weights.

`accelerate launch` starts the processes. A plain start is one process, and nothing here then does anything.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from .config import Config
from .errors import TrainingError
from .runs import Run, open_run, read_run

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's number, how many there are, its device, and whether the model is sharded over them (FSDP)."""

    rank: int = 0
    count: int = 1
    device: torch.device | None = None
    sharded: bool = False

    @property
    def main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0


@cache
def processes() -> Processes:
    """The processes of this run; joins them on the first call."""
    if not distributed.is_torchelastic_launched():
        return Processes()
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    sharded = state.num_processes > 1 and os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"
    return Processes(state.process_index, state.num_processes, state.device, sharded)


@contextmanager
def opened(folder: Path, config: Config, data: Path) -> Iterator[Run]:
    """A run, opened and locked by the main process alone; the others read it and wait for the main one.

    Raises:
        TrainingError: as `open_run` and `Run.locked`.
    """
    if processes().main:
        run = open_run(folder, config, data)
        with run.locked():
            wait()
            yield run
    else:
        wait()
        yield read_run(folder, data)


def wait() -> None:
    """Until every process is here."""
    if processes().count > 1:
        distributed.barrier()


def by_main(work: Callable[[], object]) -> None:
    """Work of the main process, that the others wait for."""
    if processes().main:
        work()
    wait()


def agree(flag: bool) -> bool:
    """The main process's answer, for every process."""
    if processes().count == 1:
        return flag
    answer = torch.tensor([int(flag)], device=processes().device)
    distributed.broadcast(answer, src=0)
    return bool(answer.item())


def share(batch: NDArray[np.int64]) -> NDArray[np.int64]:
    """This process's equal share of a batch's rows, so that the mean over processes is the mean over the batch.

    Raises:
        TrainingError: the batch cannot be shared equally.
    """
    here = processes()
    if len(batch) % here.count:
        raise TrainingError(
            f"a batch of {len(batch)} cannot be shared by {here.count} processes: make batch_pairs a multiple of it"
        )
    return batch[here.rank :: here.count]


def gather(rows: Tensor) -> Tensor:
    """Rows of all processes, shape (processes x n, ...), in the order that `share` took them from; n is one for all."""
    here = processes()
    if here.count == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(here.count)]
    distributed.all_gather(parts, rows.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


def mean(value: Tensor) -> Tensor:
    """The mean of a scalar over processes."""
    return gather(value.detach().reshape(1)).mean()


def distribute(model: nn.Module) -> None:
    """Makes the model one for all processes: sharded in place under FSDP, else with the main process's weights."""
    here = processes()
    if here.sharded:
        _shard(model)
    elif here.count > 1:
        for tensor in [*(p.data for p in model.parameters() if p.requires_grad), *model.buffers()]:
            distributed.broadcast(tensor, src=0)


def _shard(model: nn.Module) -> None:
    """`fully_shard` (FSDP2) for each transformer layer and for the rest, as accelerate's configuration says."""
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy, get_module_children_bottom_up
    from torch.distributed.fsdp import fully_shard

    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise TrainingError("expected fsdp_version: 2 in the configuration of accelerate")
    try:
        plugin.set_auto_wrap_policy(model)
    except ValueError as error:
        raise TrainingError(f"fsdp_transformer_layer_cls_to_wrap names no layer of this model: {error}") from error
    picks = fsdp2_prepare_auto_wrap_policy(plugin, model)
    offload = {"offload_policy": plugin.cpu_offload} if plugin.cpu_offload else {}
    for module in get_module_children_bottom_up(model)[:-1]:
        if picks is not None and picks(module):
            fully_shard(module, reshard_after_forward=bool(plugin.reshard_after_forward), **offload)
    fully_shard(model, **offload)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Means over processes, in one exchange; FSDP has done it already."""
    here = processes()
    if here.count == 1 or here.sharded:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= here.count
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


def trainable_state(model: nn.Module) -> State:
    """The model's whole tensors less frozen parameters; under FSDP on the main process alone, on the CPU."""
    if processes().sharded:
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        return dict(get_model_state_dict(model, options=_whole()))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def load_trainable_state(model: nn.Module, state: State) -> None:
    """Loads what `trainable_state` gave.

    Raises:
        KeyError: it is of another model.
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if set(state) != set(model.state_dict()) - frozen:
        raise KeyError("the tensors are of another model")
    if processes().sharded:
        from torch.distributed.checkpoint.state_dict import set_model_state_dict

        set_model_state_dict(model, state, options=_whole())
    else:
        model.load_state_dict(state, strict=False)


def optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> State:
    """The optimiser's whole state; under FSDP on the main process alone, on the CPU."""
    if processes().sharded:
        from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

        return dict(get_optimizer_state_dict(model, optimiser, options=_whole()))
    return optimiser.state_dict()


def load_optimiser_state(model: nn.Module, optimiser: torch.optim.Optimizer, state: State) -> None:
    """Loads what `optimiser_state` gave."""
    if processes().sharded:
        from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

        set_optimizer_state_dict(model, optimiser, state, options=_whole())
    else:
        optimiser.load_state_dict(state)


def _whole() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True, strict=False)

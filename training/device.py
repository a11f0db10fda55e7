"""Which device and which precision the models run in."""

import contextlib

import torch

from .config import Precision
from .parallel import processes


def pick_device() -> torch.device:
    """This process's GPU, the first GPU, or the CPU."""
    return processes().device or torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """bfloat16 arithmetic where it is asked for, or where `auto` finds hardware that is fast at it."""
    return torch.autocast(device.type, torch.bfloat16) if uses_bf16(device, precision) else contextlib.nullcontext()


def uses_bf16(device: torch.device, precision: Precision) -> bool:
    """Whether a precision means bfloat16 on a device."""
    return precision == "bf16" or (precision == "auto" and _fast_bf16(device))


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported())

"""ONNX Runtime sessions as the lanes need them: one thread each, run from any lane."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from artifact import ArtifactError, Manifest, Variant

PREFERENCE: dict[str, tuple[str, ...]] = {"cpu": ("int8", "fp32"), "cuda": ("fp16", "fp32")}
"""Device -> precisions, fastest first."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    "cpu": {},
    # Mixed precision: statistics of normalisation (older versions need telling), and the fp32 head's products, in fp32.
    "cuda": {"enable_skip_layer_norm_strict_mode": "1", "use_tf32": "0"},
}
DTYPES: dict[str, type[np.generic]] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
}
"""ONNX type of a tensor -> numpy's."""

SLOWER_ON_CPU = ["SkipLayerNormFusion", "BiasGeluFusion"]
"""Fusions whose CPU kernels cost more than what they replace."""

Feeds = Mapping[str, NDArray[Any]]
"""Arrays by input name."""


class EngineError(Exception):
    """The model cannot be run as configured: a missing provider, or a graph that is not what it should be."""


def choose_variant(manifest: Manifest, path: Path, device: str, precision: str) -> Variant:
    """The variant of a device with a precision, or with `auto` the fastest there is.

    Raises:
        ArtifactError: naming what the artifact has instead.
    """
    wanted = PREFERENCE[device] if precision == "auto" else (precision,)
    for each in wanted:
        for variant in manifest.variants:
            if (variant.device, variant.precision) == (device, each):
                return variant
    present = ", ".join(variant.name for variant in manifest.variants)
    raise ArtifactError(path, f"expected a variant {device}-{' or '.join(wanted)}; it has {present}")


class Graph:
    """One ONNX graph in a session of its own. May be run from several threads at once.

    Args:
        path: of the file.
        device: cpu or cuda.
        outputs: those that a run gives, in this order; without them all, in the graph's order.

    Raises:
        EngineError: the device is not there, the file is no graph, or it lacks an output.
    """

    def __init__(self, path: Path, device: str, outputs: Sequence[str] | None = None) -> None:
        self.path = path
        self.session = open_session(path, device)
        self.inputs = {each.name: each.type for each in self.session.get_inputs()}
        present = [each.name for each in self.session.get_outputs()]
        for output in outputs or ():
            if output not in present:
                raise EngineError(f"{path}: expected an output {output!r}, found {present}")
        self.outputs = list(outputs) if outputs is not None else present
        self._run = run_bound if device == "cuda" else run

    def check_inputs(self, known: Mapping[str, Sequence[str]]) -> None:
        """Compares the inputs that the graph reads with those that it can be fed.

        Args:
            known: name -> ONNX types that can be fed, such as tensor(int64).

        Raises:
            EngineError: it reads another one, or one in another type.
        """
        for name, kind in self.inputs.items():
            if kind not in known.get(name, ()):
                wanted = ", ".join(f"{each} ({' or '.join(kinds)})" for each, kinds in known.items())
                raise EngineError(f"{self.path}: expected inputs among {wanted}; found {name} ({kind})")

    def __call__(self, feeds: Feeds, outputs: Sequence[str] | None = None) -> list[NDArray[Any]]:
        """The outputs of one run, or some of them. Feeds that the graph does not read do no harm."""
        return self._run(self.session, outputs or self.outputs, {name: feeds[name] for name in self.inputs})


def run(session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
    """The outputs by name, in order."""
    arrays: list[NDArray[Any]] = session.run(outputs, feeds)
    return arrays


def run_bound(session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Feeds) -> list[NDArray[Any]]:
    """By an IO binding of its own, so that any number of threads may run: inputs from numpy, outputs to CPU memory."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    for output in outputs:
        binding.bind_output(output)
    session.run_with_iobinding(binding)
    arrays: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
    return arrays


def open_session(path: Path, device: str) -> onnxruntime.InferenceSession:
    """A session on that device.

    Raises:
        EngineError: the device is not there, or the file is no graph that it can run.
    """
    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise EngineError(f"device {device} needs ONNX Runtime's {provider}, which this installation does not have")
    if device == "cuda":
        # Finds CUDA and cuDNN where packages brought them (the extra gpu-libraries); else the system's are used.
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    # The lanes are the parallelism: a session that brings its own threads, and spins in them, takes it from them.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Shapes vary with every micro-batch, but the token budget bounds them, and so the arena: it ends up smaller, and
    # faster, than malloc from many threads. Memory patterns are kept per shape and gain nothing here.
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = False
    # Without VNNI, ONNX Runtime's 8-bit products overflow 16 bits, by which a logit of models/default moved by .125,
    # unless it is told to take others, which cost an encoder an eighth more.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=[(provider, PROVIDER_OPTIONS[device])],
            disabled_optimizers=SLOWER_ON_CPU if device == "cpu" else None,
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base below this one
        raise EngineError(f"{path}: ONNX Runtime cannot load it: {error}") from error
    used = session.get_providers()[0]
    if used != provider:
        raise EngineError(f"{path}: expected to run on {provider}, ONNX Runtime fell back to {used}")
    return session

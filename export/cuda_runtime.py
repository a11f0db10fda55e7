"""Runs graphs on a GPU in ONNX Runtime: as the service does, and with inputs and outputs that stay on the device."""

import numpy as np
import onnxruntime as ort

from .bert import OUTPUT
from .errors import ExportError
from .graph import Floats
from .runtime import Feeds, Run, session_options

PROVIDER = "CUDAExecutionProvider"
PROVIDER_OPTIONS = {"enable_skip_layer_norm_strict_mode": "1", "use_tf32": "0"}
"""Statistics of SkipLayerNormalization in fp32, which newer versions always take; the fp32 head's products in fp32, not
TF32. The service sets the same."""

DEVICE = "cuda"


def gpu_is_present() -> bool:
    """Whether this ONNX Runtime is one for CUDA; that there is a GPU too, opening a session tells."""
    return PROVIDER in ort.get_available_providers()


def open_cuda_session(
    model: bytes, cuda_graph: bool = False, strict: bool = True, fixed: dict[str, int] | None = None
) -> ort.InferenceSession:
    """A session on the first GPU.

    Args:
        cuda_graph: record the kernels at the first run and replay them: shapes and addresses must stay the same.
        strict: statistics of SkipLayerNormalization in fp32.
        fixed: values of the graph's free dimensions, "n" and "length".

    Raises:
        ExportError: there is no such provider or GPU, or the graph is refused.
    """
    if not gpu_is_present():
        raise ExportError(f"ONNX Runtime {ort.__version__} here has no {PROVIDER}: install onnxruntime-gpu")
    ort.preload_dlls()
    options = session_options()
    for name, value in (fixed or {}).items():
        options.add_free_dimension_override_by_name(name, value)
    settings = {
        **PROVIDER_OPTIONS,
        "enable_skip_layer_norm_strict_mode": str(int(strict)),
        "enable_cuda_graph": str(int(cuda_graph)),
    }
    try:
        session = ort.InferenceSession(model, options, providers=[(PROVIDER, settings)])
    except Exception as error:  # the runtime's exceptions share no base class of their own
        raise ExportError(f"ONNX Runtime {ort.__version__} refuses the graph on CUDA: {error}") from error
    if session.get_providers()[0] != PROVIDER:
        raise ExportError(
            f"ONNX Runtime {ort.__version__} fell back to {session.get_providers()[0]}: "
            "no GPU, or its driver, CUDA or cuDNN are missing or of another version"
        )
    return session


def bound(session: ort.InferenceSession) -> Run:
    """Feeds to logits (n,) through an IO binding: inputs from numpy, the output to CPU memory, as the service does."""

    def run(feeds: Feeds) -> Floats:
        binding = session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        binding.bind_output(OUTPUT)
        session.run_with_iobinding(binding)
        logits: Floats = binding.copy_outputs_to_cpu()[0][:, 0]
        return logits

    return run


class Replayed:
    """A padded graph of one shape (n, length) whose kernels are recorded once and replayed, as `Run`.

    Fewer or shorter pairs are padded to the shape: a pair that is not there is one token long.
    """

    def __init__(self, model: bytes, n: int, length: int, device: str = DEVICE) -> None:
        fixed = {"n": n, "length": length}
        self.shape = (n, length)
        self._session = open_cuda_session(model, cuda_graph=True, fixed=fixed)
        self._binding = self._session.io_binding()
        empty = np.zeros(self.shape, np.int64)
        self._inputs = {each.name: ort.OrtValue.ortvalue_from_numpy(empty, device) for each in self._inputs_of()}
        self._output = ort.OrtValue.ortvalue_from_shape_and_type([n, 1], np.float32, device)
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output(OUTPUT, self._output)

    def __call__(self, feeds: Feeds) -> Floats:
        for name, array in fitted(feeds, self.shape).items():
            self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding)
        logits: Floats = self._output.numpy()[: len(feeds["input_ids"]), 0]
        return logits

    def _inputs_of(self) -> list[ort.NodeArg]:
        inputs: list[ort.NodeArg] = self._session.get_inputs()
        return inputs


def fitted(feeds: Feeds, shape: tuple[int, int]) -> Feeds:
    """Feeds padded to a bucket's shape, which is at least theirs."""
    n, length = feeds["input_ids"].shape
    padding = [(0, shape[0] - n), (0, shape[1] - length)]
    padded = {name: np.pad(array, padding) for name, array in feeds.items()}
    padded["attention_mask"][n:, 0] = 1  # softmax over no token at all would be NaN
    return padded

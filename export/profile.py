"""Where the milliseconds of a variant go, operator by operator. `python -m export profile ARTIFACT`."""

import json
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from artifact import load_artifact

from .bert import OUTPUT
from .errors import ExportError
from .runtime import MICRO_BATCH, open_session, session_options
from .timing import in_turn
from .workload import LONGEST, Workload

ROUNDS = 15
GROUPS = {
    "products with weights": ("MatMulIntegerToFloat", "Gemm", "FusedGemm"),
    "attention": ("Attention", "FusedMatMul", "MatMul", "Softmax", "Transpose", "Split", "Squeeze"),
    "activation": ("Gelu", "FastGelu", "BiasGelu", "Erf", "Tanh", "Relu"),
    "normalisation": ("LayerNormalization", "SkipLayerNormalization"),
    "(de)quantisation": ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"),
}
"""Operators by what they are for; all others are `the rest`: residuals, embeddings, shapes."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Milliseconds for all micro-batches, one after another on one thread.

    Attributes:
        wall_ms: of a pass without profiling, median.
        operators: operator -> (milliseconds, calls) of a pass, medians over rounds.
    """

    variant: str
    pairs: int
    tokens: int
    padded_tokens: int
    wall_ms: float
    operators: dict[str, tuple[float, int]]

    def __str__(self) -> str:
        total = sum(ms for ms, _ in self.operators.values())
        groups: Counter[str] = Counter()
        lines = [
            f"{self.variant}: {self.pairs} pairs, {self.tokens} tokens ({self.padded_tokens} with padding), "
            f"micro-batches of {MICRO_BATCH} on one thread, ONNX Runtime {ort.__version__}",
            f"{self.wall_ms:.1f} ms without profiling, {total:.1f} ms in operators with it",
            "",
            "| operator | ms | share | calls | µs a call |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, (ms, calls) in sorted(self.operators.items(), key=lambda item: -item[1][0]):
            groups[_group(name)] += ms  # type: ignore[assignment]
            lines.append(f"| {name} | {ms:.2f} | {ms / total:.1%} | {calls} | {ms / calls * 1e3:.1f} |")
        lines += ["", "| | ms | share |", "|---|---:|---:|"]
        lines += [f"| {name} | {ms:.2f} | {ms / total:.1%} |" for name, ms in groups.most_common()]
        return "\n".join(lines)


def profile(folder: Path, variant: str | None, pairs: int) -> Profile:
    """Profiles a CPU variant of an artifact over `pairs` random pairs of about 36 tokens.

    Args:
        variant: None: cpu-int8 where the artifact has it, else its first for CPU.

    Raises:
        ArtifactError: the artifact cannot be read.
        ExportError: it has no such variant for CPU.
    """
    artifact = load_artifact(folder)
    if artifact.manifest.architecture != "cross-encoder":
        raise ExportError(f"{folder}: expected a cross-encoder, found a split model: take `split-speed`")
    present = [each.name for each in artifact.manifest.variants if each.device == "cpu"]
    chosen = variant or next((name for name in ("cpu-int8", *present) if name in present), "cpu-int8")
    if chosen not in present:
        raise ExportError(f"{folder}: expected a variant {chosen} for CPU; it has {', '.join(present) or 'none'}")
    model = artifact.variant_path(chosen).read_bytes()
    longest = min(LONGEST, artifact.manifest.template.max_tokens)
    work = Workload.of(pairs, artifact.manifest.tokenizer.vocab_size, longest)
    batches = work.micro_batches()
    plain = open_session(model)
    wanted = {each.name for each in plain.get_inputs()}
    feeds = [{name: array for name, array in batch.items() if name in wanted} for batch in batches]
    seconds = in_turn({chosen: lambda: [plain.run([OUTPUT], batch) for batch in feeds]}, ROUNDS)[chosen]
    with tempfile.TemporaryDirectory() as name:
        options = session_options()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(name) / "profile")
        session = open_session(model, options)
        in_turn({chosen: lambda: [session.run([OUTPUT], batch) for batch in feeds]}, ROUNDS)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    padded = sum(batch["input_ids"].size for batch in batches)
    wall = float(np.median(seconds)) * 1e3
    return Profile(chosen, pairs, work.tokens, padded, wall, _operators(events, len(feeds)))


def _operators(events: list[dict[str, object]], batches: int) -> dict[str, tuple[float, int]]:
    """Operator -> (milliseconds, calls) of one pass over the batches: medians over the passes, node by node."""
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        name, arguments = str(event.get("name")), event.get("args")
        if name.endswith("_kernel_time") and isinstance(arguments, dict) and isinstance(event["dur"], int | float):
            taken[str(arguments["op_name"]), name].append(float(event["dur"]))
    found: dict[str, tuple[float, int]] = {}
    for (operator, _), microseconds in taken.items():
        by_pass = np.array(microseconds).reshape(-1, batches)
        ms, calls = found.get(operator, (0.0, 0))
        found[operator] = (ms + float(np.median(by_pass, axis=0).sum()) / 1e3, calls + batches)
    return found


def _group(operator: str) -> str:
    return next((group for group, members in GROUPS.items() if operator in members), "the rest")

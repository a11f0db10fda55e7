"""Verifies and times cuda-fp16 on a machine with a GPU: `python -m export gpu-check`. Says what it ran on."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import build_and_package_info

from artifact import ArtifactError, PairTokenizer, load_artifact
from artifact.loading import MANIFEST_FILE
from training.pretrained import resolve

from .bert import build_bert
from .checkpoint import load_checkpoint
from .compile import Say
from .cuda import build_cuda
from .cuda_runtime import Replayed, bound, open_cuda_session
from .cuda_variant import CUDA_TOLERANCE, NAME, check_family
from .errors import ExportError
from .generator import made_up_pairs
from .golden import GOLDEN_PAIRS
from .gpu_bench import PADDED, REPLAYED, SIZES, Runs, Timing, contestants, table, time_all
from .graph import Float32, serialise
from .parity import measure_independence
from .plain import DEFAULT_TEMPLATE
from .runtime import MICRO_BATCH, EncodedPairs, Run, logits_of, open_session

PAIRS = 1000
QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    Attributes:
        pairs: the golden pairs first.
        golden: logits that the artifact promises for those; None for a checkpoint.
        fp32: the same model on CPU.
        padded: the graph that keeps padding; None for an artifact, which does not carry it.
    """

    name: str
    pairs: EncodedPairs
    golden: NDArray[np.float64] | None
    fp32: Run
    packed: bytes
    padded: bytes | None
    vocab_size: int
    longest: int


@dataclass(frozen=True, slots=True)
class Check:
    """The largest difference of a logit in one comparison, and the largest that is allowed; or why it failed."""

    name: str
    worst: float | None
    limit: float = CUDA_TOLERANCE
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether it was made and is within the limit; NaN is not."""
        return self.worst is not None and self.worst <= self.limit

    def __str__(self) -> str:
        found = self.problem or f"{self.worst:.2g} (limit {self.limit:g})"
        return f"- {'passed' if self.passed else 'FAILED'}: {self.name}: {found}"


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found, and on what."""

    machine: dict[str, str]
    subject: str
    checks: list[Check]
    timings: list[Timing]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        ran_on = [f"- {name}: {value}" for name, value in self.machine.items()]
        return "\n".join(
            [f"# {NAME} of {self.subject}", "", *ran_on, "", *map(str, self.checks), "", *table(self.timings)]
        )

    def write(self, folder: Path) -> None:
        """Writes gpu-check.json and gpu-check.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu-check.json").write_text(json.dumps(asdict(self), indent=1) + "\n")
        (folder / "gpu-check.md").write_text(f"{self}\n")


def gpu_check(source: str, rounds: int, say: Say) -> Report:
    """Checks and times an artifact's cuda-fp16, or that of a checkpoint.

    Args:
        source: folder of an artifact or checkpoint, or the name of a packaged model.

    Raises:
        ExportError: there is no GPU, or no ONNX Runtime for it; the source has not what it takes.
    """
    folder = Path(resolve(source))
    subject = subject_of_artifact(folder) if (folder / MANIFEST_FILE).exists() else subject_of_checkpoint(folder, say)
    run = bound(open_cuda_session(subject.packed))
    ran_on = machine()
    say(", ".join(ran_on.values()))
    checks = verify(subject, run, others_of(subject))
    for check in checks:
        say(str(check))
    timings = []
    for n in SIZES:
        runs = contestants(subject.packed, subject.padded, n, subject.longest)
        timings += time_all(runs, n, subject.vocab_size, subject.longest, rounds)
        say(f"timed {n} pairs")
    return Report(ran_on, subject.name, checks, timings)


def verify(subject: Subject, run: Run, others: Runs | None = None) -> list[Check]:
    """Compares a run of the packed graph with fp32, with itself in other batches, and with the golden logits.

    Args:
        others: are compared with fp32 alone.
    """
    pairs = subject.pairs
    expected = pairs.logits(subject.fp32)

    def golden() -> float:
        assert subject.golden is not None
        return _worst(pairs.logits(run)[: len(subject.golden)], subject.golden)

    comparisons: dict[str, Callable[[], float]] = {
        f"against fp32, {len(pairs)} pairs": lambda: _worst(pairs.logits(run), expected),
        f"alone, in batches, beside the longest, {len(pairs)} pairs": lambda: measure_independence(run, pairs).worst,
    }
    if subject.golden is not None:
        comparisons[f"{len(subject.golden)} golden pairs"] = golden
    for name, start in (others or {}).items():
        comparisons[f"{name}, against fp32"] = partial(_compare, start, pairs, expected)
    return [_check(name, compare) for name, compare in comparisons.items()]


def others_of(subject: Subject) -> Runs:
    """The padded graph, and a CUDA graph of it for micro-batches of any length; neither is served."""
    padded = subject.padded
    if padded is None:
        return {}
    return {
        PADDED: lambda: bound(open_cuda_session(padded)),
        REPLAYED: lambda: Replayed(padded, MICRO_BATCH, subject.longest),
    }


def machine() -> dict[str, str]:
    """GPU, driver, CUDA and ONNX Runtime."""
    try:
        gpus = subprocess.run(QUERY, capture_output=True, text=True, timeout=60, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        gpus = f"unknown: {error}"
    return {
        "GPU, driver, memory": gpus.replace("\n", "; "),
        "CUDA that ONNX Runtime was built for": str(getattr(build_and_package_info, "cuda_version", "none")),
        "ONNX Runtime": str(ort.__version__),
        "providers": ", ".join(ort.get_available_providers()),
    }


def subject_of_artifact(folder: Path) -> Subject:
    """An artifact with the variants cuda-fp16 and cpu-fp32.

    Raises:
        ExportError: it lacks one of them.
    """
    artifact = load_artifact(folder)
    try:
        packed, fp32 = (artifact.variant_path(name).read_bytes() for name in (NAME, "cpu-fp32"))
    except ArtifactError as error:
        raise ExportError(f"{error}: export it with --variants cpu-fp32,{NAME}, or check its checkpoint") from error
    manifest = artifact.manifest
    golden = [(pair.query, pair.product) for pair in manifest.golden_pairs]
    return Subject(
        name=f"{manifest.name} {manifest.version}",
        pairs=EncodedPairs(artifact.tokenizer, [*golden, *made_up_pairs(PAIRS - len(golden))]),
        golden=np.array([pair.logits[NAME] for pair in manifest.golden_pairs]),
        fp32=logits_of(open_session(fp32)),
        packed=packed,
        padded=None,
        vocab_size=manifest.tokenizer.vocab_size,
        longest=manifest.template.max_tokens,
    )


def subject_of_checkpoint(folder: Path, say: Say) -> Subject:
    """A checkpoint, with the template of `export plain` as far as it has positions for it.

    Raises:
        ExportError: it cannot be exported.
    """
    checkpoint = load_checkpoint(folder, say)
    check_family(checkpoint)
    longest = min(DEFAULT_TEMPLATE.max_tokens, checkpoint.max_positions)
    tokenizer = PairTokenizer(checkpoint.tokenizer_path, DEFAULT_TEMPLATE.model_copy(update={"max_tokens": longest}))
    weights, shape = checkpoint.weights(), checkpoint.shape
    packed, padded = (serialise(build_cuda(weights, shape, packed)) for packed in (True, False))
    return Subject(
        name=folder.absolute().name,
        pairs=EncodedPairs(tokenizer, [*GOLDEN_PAIRS, *made_up_pairs(PAIRS - len(GOLDEN_PAIRS))]),
        golden=None,
        fp32=logits_of(open_session(serialise(build_bert(weights, shape, Float32())[0]))),
        packed=packed,
        padded=padded,
        vocab_size=checkpoint.vocab_size,
        longest=longest,
    )


def _check(name: str, compare: Callable[[], float]) -> Check:
    try:
        return Check(name, compare())
    except Exception as error:  # the runtime's exceptions share no base class; the other checks are still worth having
        return Check(name, None, problem=str(error))


def _compare(start: Callable[[], Run], pairs: EncodedPairs, expected: NDArray[np.float64]) -> float:
    return _worst(pairs.logits(start()), expected)


def _worst(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    return float(np.abs(found - expected).max())

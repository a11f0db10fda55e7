"""The checks of an artifact after its manifest, in their order; an architecture says how it is opened and run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from onnx import ModelProto
from tokenizers import Tokenizer

from artifact import Manifest, PairTokenizer, Variant
from artifact.loading import check_tokenizer_bytes, check_variant_bytes, open_tokenizer

from ..errors import ExportError
from ..runtime import Pair
from .checks import Checks, Finding, SkippedError, joined
from .graphs import check_external_data, check_operators_known, embedded_tokens, read_graph
from .pairs import rows_by_query
from .scores import Logits, calibration_error, check_calibration, check_golden, check_precision, expected_size

LATENCY_BUDGET_S = 15.0
TORCH_PAIRS = 256

Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class Options:
    """What the checks are made on.

    | field | use |
    |---|---|
    | `pairs` | how many text pairs; independence looks at no more than 1,000 |
    | `texts` | JSON lines of {"query", "product"} to take them from. None: made-up ones |
    | `checkpoint` | the folder that the artifact was exported from, to compare with torch |
    | `judged` | JSON lines of {"query", "product", "target"}, for the calibration error |
    | `seed` | of the pairs and of the neighbours that they get |
    | `latency_budget_s` | about how long the latency table may take |
    """

    pairs: int = 1000
    texts: Path | None = None
    checkpoint: Path | None = None
    judged: Path | None = None
    seed: int = 0
    latency_budget_s: float = LATENCY_BUDGET_S


class Verification(ABC, Generic[Model]):
    """The checks after the manifest. Sessions are opened only of files that passed all that can be told unopened.

    A variant that may be run is a `Model` of the architecture's kind.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        checks: Checks,
        options: Options,
        pairs: list[Pair],
        judged: tuple[list[Pair], list[float]] | None,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._checks = checks
        self._options = options
        self._pairs = pairs
        self._judged = judged
        self._runs: dict[str, Model] = {}
        self._tables: dict[str, set[int]] = {}
        self._tokenizer: PairTokenizer | None = None

    def run(self) -> None:
        variants = self._manifest.variants
        for variant in variants:
            self._file(variant)
        self._read_tokenizer()
        for variant in variants:
            self._golden(variant)
        self._parity()
        for variant in variants:
            with self._checks("independence", variant.name) as check:
                check.finding = self._neighbours(self._ready(variant), self._tokens, variant.name)
        self._calibration()
        self._latency()

    @abstractmethod
    def _signature(self, variant: Variant, models: Mapping[str, ModelProto]) -> Finding:
        """Refuses graphs, by file, that the service cannot feed; raises ExportError."""

    @abstractmethod
    def _opened(self, variant: Variant) -> Model:
        """The variant, ready to run here."""

    @abstractmethod
    def _logits(self, model: Model, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> Logits:
        """Shape (n,), in batches as the service makes them."""

    @abstractmethod
    def _golden_logits(self, model: Model, tokenizer: PairTokenizer, pairs: Sequence[Pair]) -> Logits:
        """Shape (2, n): each pair alone, and as many in one batch as can be."""

    @abstractmethod
    def _neighbours(self, model: Model, tokenizer: PairTokenizer, variant: str) -> Finding:
        """Refuses logits that move with what stands beside a pair; raises ExportError."""

    @abstractmethod
    def _torch(
        self, folder: Path
    ) -> tuple[Callable[[Sequence[Pair]], Logits], Callable[[Model, Sequence[Pair]], Finding]]:
        """Of the checkpoint in a folder: its logits, and the check of an fp32 variant against it."""

    @abstractmethod
    def _latencies(self) -> Mapping[str, Finding]:
        """How long runs of each variant take."""

    def _file(self, variant: Variant) -> None:
        before = self._checks.count("FAIL")
        with self._checks("hash and size", variant.name) as check:
            check_variant_bytes(self._folder, variant)
            size = sum(graph.size_bytes for graph in variant.graphs())
            sentence = f"{size / 1e6:.1f} MB, sha256 {', '.join(graph.sha256[:16] for graph in variant.graphs())}"
            check.finding = Finding(sentence, {"size_bytes": size, "sha256": variant.sha256})
        paths = [self._folder / graph.file for graph in variant.graphs()]
        if not all(path.is_file() for path in paths):
            return
        models: dict[str, ModelProto] = {}
        with self._checks("external data", variant.name) as check:
            found = {path.name: read_graph(path) for path in paths}
            check.finding = joined([check_external_data(path, found[path.name]) for path in paths])
            models = found
        if not models:
            return
        with self._checks("operators", variant.name) as check:
            check.finding = joined([check_operators_known(path, models[path.name]) for path in paths])
        with self._checks("graph", variant.name) as check:
            check.finding = self._signature(variant, models)
            self._tables[variant.name] = set().union(*map(embedded_tokens, models.values()))
            if variant.device == "cpu" and self._checks.count("FAIL") == before:
                self._runs[variant.name] = self._opened(variant)

    def _read_tokenizer(self) -> None:
        size = self._manifest.tokenizer.vocab_size
        sound = False
        with self._checks("tokenizer file") as check:
            check_tokenizer_bytes(self._folder, self._manifest.tokenizer)
            check.finding = Finding(f"sha256 {self._manifest.tokenizer.sha256[:16]}")
            sound = True
        with self._checks("vocabulary") as check:
            tokenizer = open_tokenizer(self._folder, self._manifest)
            path = self._folder / self._manifest.tokenizer.file
            highest = max(Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True).values())
            if highest >= size:
                raise ExportError(
                    f"{path}: expected token ids below {size}, the rows of the model's embedding table, found "
                    f"{highest}: tokenizer and model do not belong together; export it again"
                )
            expected_size(self._tables, size)
            told = f"{tokenizer.vocab_size} tokens for {size} embeddings"
            check.finding = Finding(told, {"tokens": tokenizer.vocab_size, "embeddings": size})
            self._tokenizer = tokenizer if sound else None

    def _golden(self, variant: Variant) -> None:
        with self._checks("golden pairs", variant.name) as check:
            golden = self._manifest.golden_pairs
            model, pairs = self._ready(variant), [(each.query, each.product) for each in golden]
            check.finding = check_golden(self._golden_logits(model, self._tokens, pairs), golden, variant)

    def _parity(self) -> None:
        """fp32 against torch, then the other variants of the CPU against fp32 or, without it, against torch."""
        made = len(self._checks.done)
        reference: tuple[str, Logits] | None = None
        full = next((v for v in self._manifest.variants if (v.device, v.precision) == ("cpu", "fp32")), None)
        if self._options.checkpoint is not None:
            with self._checks("parity", "" if full is None else full.name) as check:
                torch_logits, check_torch = self._torch(self._options.checkpoint)
                if full is None or full.name not in self._runs:
                    reference = ("torch", torch_logits(self._pairs))
                    raise SkippedError("no fp32 variant that passed its checks, to compare with torch")
                check.finding = check_torch(self._ready(full), self._pairs[:TORCH_PAIRS])
        if full is not None and full.name in self._runs and self._tokenizer is not None:
            reference = (full.name, self._scored(self._runs[full.name]))
        for variant in self._manifest.variants:
            if variant == full or (variant.device == "cpu" and reference is None):
                continue
            with self._checks("parity", variant.name) as check:
                run = self._ready(variant)
                assert reference is not None
                against, expected = reference
                found, lists = self._scored(run), rows_by_query(self._pairs)
                check.finding = check_precision(found, expected, lists, variant.golden_tolerance, against)
        if len(self._checks.done) == made:
            with self._checks("parity"):
                alone = len(self._manifest.variants) == 1
                why = "one variant alone" if alone else "no fp32 variant that passed its checks"
                raise SkippedError(f"{why}; give --checkpoint to compare with torch")

    def _calibration(self) -> None:
        calibration = self._manifest.calibration
        with self._checks("calibration") as check:
            name, run = self._served()
            logits = self._scored(run)
            check.finding = check_calibration(calibration, self._manifest.score_histogram, logits)
        if self._judged is not None:
            with self._checks("calibration error") as check:
                name, run = self._served()
                pairs, targets = self._judged
                finding = calibration_error(calibration, self._logits(run, self._tokens, pairs), targets)
                check.finding = Finding(f"{name}: {finding.sentence}", finding.facts)

    def _latency(self) -> None:
        findings: Mapping[str, Finding] | None = None
        for variant in self._manifest.variants:
            with self._checks("latency", variant.name) as check:
                self._ready(variant)
                findings = self._latencies() if findings is None else findings
                check.finding = findings[variant.name]

    def _ready(self, variant: Variant) -> Model:
        if variant.device != "cpu":
            raise SkippedError("needs a GPU")
        if variant.name not in self._runs:
            raise SkippedError("its file failed a check above")
        if self._tokenizer is None:
            raise SkippedError("the tokenizer failed a check above")
        return self._runs[variant.name]

    def _served(self) -> tuple[str, Model]:
        """What the service would take on a CPU: int8, or else fp32."""
        of_cpu = [v for v in self._manifest.variants if v.device == "cpu"]
        if not of_cpu:
            raise SkippedError("needs a GPU")
        variant = min(of_cpu, key=lambda v: v.precision != "int8")
        return variant.name, self._ready(variant)

    def _scored(self, model: Model) -> Logits:
        """Logits of the pairs that everything is checked on."""
        return self._logits(model, self._tokens, self._pairs)

    @property
    def _tokens(self) -> PairTokenizer:
        if self._tokenizer is None:
            raise SkippedError("the tokenizer failed a check above")
        return self._tokenizer

"""Verifies a finished artifact: every check that its folder and this machine allow, whatever failed before."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer

from artifact import Manifest, PairTokenizer, Variant
from artifact.loading import (
    MANIFEST_FILE,
    check_tokenizer_bytes,
    check_variant_bytes,
    open_tokenizer,
    read_manifest,
)

from ..checkpoint import Checkpoint, load_checkpoint
from ..errors import ExportError
from ..graph import Floats
from ..runtime import EncodedPairs, Feeds, Pair, Run, logits_of, open_session
from .checks import Checks, Finding, Say, SkippedError
from .graphs import check_external_data, check_operators_known, check_signature, embedded_tokens, read_graph
from .latency import Cell, latency_finding, time_micro_batches
from .pairs import pairs_to_check, read_judged, rows_by_query
from .scores import (
    Logits,
    calibration_error,
    check_calibration,
    check_golden,
    check_neighbours,
    check_precision,
    check_torch,
    expected_size,
)

LATENCY_BUDGET_S = 15.0
TORCH_PAIRS = 256


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


def verify(folder: Path, say: Say, options: Options | None = None) -> tuple[Checks, Manifest | None]:
    """Makes the checks and tells each as it finishes; the manifest is None where it could not be read.

    Raises:
        ExportError: the folder is no artifact, or what `options` name cannot be read.
    """
    options = options or Options()
    if not (folder / MANIFEST_FILE).is_file():
        raise ExportError(f"{folder}: expected an artifact folder with a {MANIFEST_FILE}, found none")
    pairs = pairs_to_check(options.pairs, options.texts, options.seed)
    judged = None if options.judged is None else read_judged(options.judged)
    checks = Checks(say)
    manifest: Manifest | None = None
    with checks("manifest") as check:
        manifest = read_manifest(folder)
        names = ", ".join(variant.name for variant in manifest.variants)
        sentence = f"{manifest.name} {manifest.version}, schema {manifest.schema_version}, {names}"
        check.finding = Finding(sentence, {"schema_version": manifest.schema_version})
    if manifest is not None:
        _Verification(folder, manifest, checks, options, pairs, judged).run()
    say(checks.summary())
    return checks, manifest


class _Verification:
    """The checks after the manifest. Sessions are opened only of files that passed all that can be told unopened."""

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
        self._inputs: set[str] = set()
        self._runs: dict[str, Run] = {}
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
                run, pairs = self._ready(variant), self._encoded(self._pairs)
                check.finding = check_neighbours(run, pairs, variant.name, self._options.seed)
        self._calibration()
        self._latency()

    def _file(self, variant: Variant) -> None:
        path = self._folder / variant.file
        before = self._checks.count("FAIL")
        with self._checks("hash and size", variant.name) as check:
            check_variant_bytes(self._folder, variant)
            sentence = f"{variant.size_bytes / 1e6:.1f} MB, sha256 {variant.sha256[:16]}"
            check.finding = Finding(sentence, {"size_bytes": variant.size_bytes, "sha256": variant.sha256})
        if not path.is_file():
            return
        model = None
        with self._checks("external data", variant.name) as check:
            model = read_graph(path)
            check.finding = check_external_data(path, model)
        if model is None:
            return
        with self._checks("operators", variant.name) as check:
            check.finding = check_operators_known(path, model)
        with self._checks("graph", variant.name) as check:
            check.finding = check_signature(path, model)
            self._tables[variant.name] = embedded_tokens(model)
            if variant.device == "cpu" and self._checks.count("FAIL") == before:
                session = open_session(path.read_bytes())
                self._inputs = {each.name for each in session.get_inputs()}
                self._runs[variant.name] = partial(_run, logits_of(session))

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
            run, pairs = self._ready(variant), self._encoded([(each.query, each.product) for each in golden])
            check.finding = check_golden(run, pairs, golden, variant)

    def _parity(self) -> None:
        """fp32 against torch, then the other variants of the CPU against fp32 or, without it, against torch."""
        made = len(self._checks.done)
        reference: tuple[str, Logits] | None = None
        full = next((v for v in self._manifest.variants if (v.device, v.precision) == ("cpu", "fp32")), None)
        if self._options.checkpoint is not None:
            with self._checks("parity", "" if full is None else full.name) as check:
                checkpoint = self._checkpoint(self._options.checkpoint)
                if full is None or full.name not in self._runs:
                    reference = ("torch", self._encoded(self._pairs).logits(checkpoint.logits))
                    raise SkippedError("no fp32 variant that passed its checks, to compare with torch")
                pairs = self._encoded(self._pairs[:TORCH_PAIRS])
                check.finding = check_torch(checkpoint, self._ready(full), pairs)
        if full is not None and full.name in self._runs and self._tokenizer is not None:
            reference = (full.name, self._encoded(self._pairs).logits(self._runs[full.name]))
        for variant in self._manifest.variants:
            if variant == full or (variant.device == "cpu" and reference is None):
                continue
            with self._checks("parity", variant.name) as check:
                run = self._ready(variant)
                assert reference is not None
                against, expected = reference
                found, lists = self._encoded(self._pairs).logits(run), rows_by_query(self._pairs)
                check.finding = check_precision(found, expected, lists, variant.golden_tolerance, against)
        if len(self._checks.done) == made:
            with self._checks("parity"):
                alone = len(self._manifest.variants) == 1
                why = "one variant alone" if alone else "no fp32 variant that passed its checks"
                raise SkippedError(f"{why}; give --checkpoint to compare with torch")

    def _checkpoint(self, folder: Path) -> Checkpoint:
        """The checkpoint, read as it was for this artifact: with its tokenizer, token types and gains."""
        gains = next((v.choices["gains"] for v in self._manifest.variants if "gains" in v.choices), None)
        return load_checkpoint(
            folder,
            self._checks.say,
            None if gains is None else [float(gain) for gain in gains.split(",")],
            self._folder / self._manifest.tokenizer.file,
            not self._inputs or "token_type_ids" in self._inputs,
        )

    def _calibration(self) -> None:
        calibration = self._manifest.calibration
        with self._checks("calibration") as check:
            name, run = self._served()
            logits = self._encoded(self._pairs).logits(run)
            check.finding = check_calibration(calibration, self._manifest.score_histogram, logits)
        if self._judged is not None:
            with self._checks("calibration error") as check:
                name, run = self._served()
                pairs, targets = self._judged
                finding = calibration_error(calibration, self._encoded(pairs).logits(run), targets)
                check.finding = Finding(f"{name}: {finding.sentence}", finding.facts)

    def _latency(self) -> None:
        cells: list[Cell] = []
        rounds = 0
        for variant in self._manifest.variants:
            with self._checks("latency", variant.name) as check:
                self._ready(variant)
                if not cells:
                    assert self._tokenizer is not None
                    budget_s = self._options.latency_budget_s
                    cells, rounds = time_micro_batches(self._runs, self._tokenizer, budget_s)
                check.finding = latency_finding([cell for cell in cells if cell.variant == variant.name], rounds)

    def _ready(self, variant: Variant) -> Run:
        if variant.device != "cpu":
            raise SkippedError("needs a GPU")
        if variant.name not in self._runs:
            raise SkippedError("its file failed a check above")
        if self._tokenizer is None:
            raise SkippedError("the tokenizer failed a check above")
        return self._runs[variant.name]

    def _served(self) -> tuple[str, Run]:
        """What the service would take on a CPU: int8, or else fp32."""
        of_cpu = [v for v in self._manifest.variants if v.device == "cpu"]
        if not of_cpu:
            raise SkippedError("needs a GPU")
        variant = min(of_cpu, key=lambda v: v.precision != "int8")
        return variant.name, self._ready(variant)

    def _encoded(self, pairs: list[Pair]) -> EncodedPairs:
        if self._tokenizer is None:
            raise SkippedError("the tokenizer failed a check above")
        return EncodedPairs(self._tokenizer, pairs)


def _run(run: Run, feeds: Feeds) -> Floats:
    """A run whose failure is a refusal."""
    try:
        return run(feeds)
    except Exception as error:  # the runtime's exceptions share no base class of their own
        raise ExportError(f"ONNX Runtime stops in the graph: {error}") from error

"""Loads the artifact that the settings name, and proves that it scores as it must before anything is served."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from artifact import Artifact, Manifest, PairTokenizer, Variant, load_artifact
from artifact.loading import MANIFEST_FILE
from artifact.product_states import states_version
from artifact.states_file import StatesFile

from .cost import CostModel
from .engine import Engine, Fresh
from .metrics import Metrics
from .onnx_engine import OnnxEngine
from .sessions import EngineError, choose_variant
from .settings import Settings
from .split_engine import SplitEngine
from .states_files import open_states

WARM_UP_RUNS = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """A verified model ready to score, and what its work has cost so far.

    Attributes:
        tokenizer: for whoever wants to know what the model reads; None where nobody can.
    """

    manifest: Manifest
    variant: Variant
    engine: Engine
    cost: CostModel = field(default_factory=CostModel)
    states_file: StatesFile | None = None
    tokenizer: PairTokenizer | None = None

    def description(self) -> dict[str, Any]:
        """What GET /models says of it."""
        shown = {"name", "version", "architecture", "template", "evaluation"}
        manifest = self.manifest.model_dump(mode="json", include=shown)
        described = {**manifest, "variant": self.variant.name, "precision": self.variant.precision}
        if self.variant.states is not None:
            file = self.states_file
            described["states"] = {
                "version": states_version(self.manifest, self.variant),
                "layout": self.variant.states.model_dump(),
                "file_products": file.products if file is not None else None,
            }
        return described


def load_model(settings: Settings, metrics: Metrics) -> Model:
    """Loads, verifies and warms up a model. Blocks for about a second.

    Raises:
        artifact.ArtifactError: the folder is not a sound artifact, or lacks the variant.
        EngineError: the variant does not run here, or misses its golden logits.
    """
    artifact = load_artifact(settings.model_dir)
    variant = choose_variant(artifact.manifest, settings.model_dir / MANIFEST_FILE, settings.device, settings.precision)
    budget_tokens = settings.budget_tokens(artifact.manifest.architecture)
    cost = CostModel(variant.latency, budget_tokens, variant.product_latency, settings.encode_tokens)
    if artifact.manifest.architecture == "cross-encoder":
        cross_encoder = OnnxEngine(artifact, variant, settings.token_cache_bytes, metrics)
        check_golden_pairs(artifact, variant, cross_encoder)
        _warm_up(artifact, cross_encoder, budget_tokens, cost)
        return Model(artifact.manifest, variant, cross_encoder, cost, tokenizer=artifact.tokenizer)
    split = SplitEngine(artifact, variant, settings.state_cache_bytes, settings.encode_tokens, metrics)
    check_golden_pairs(artifact, variant, split)
    _warm_up_encoders(artifact, split, settings.encode_tokens, cost)
    _warm_up(artifact, split, budget_tokens, cost)
    if settings.state_cache_bytes and not split.kept().products:
        log.warning(
            "the state cache is too small for a single product: every one is encoded in every request",
            extra={"fields": {"state_cache_bytes": settings.state_cache_bytes}},
        )
    split.forget()
    file = open_states(settings.states, artifact.manifest, variant, metrics) if settings.states is not None else None
    if file is not None:
        # Not before: the golden pairs have to go through the product encoder.
        split.read_from(file)
    return Model(artifact.manifest, variant, split, cost, file, artifact.tokenizer)


def check_golden_pairs(artifact: Artifact, variant: Variant, engine: Engine) -> None:
    """Scores the golden pairs, each alone and all together, through the engine that will serve.

    Raises:
        EngineError: a logit is further from its golden value than the variant tolerates.
    """
    path = artifact.variant_path(variant.name)
    golden = artifact.manifest.golden_pairs
    pairs = []
    for each in golden:
        if variant.name not in each.logits:
            raise EngineError(f"{path}: expected a golden logit for {variant.name} with every golden pair")
        pairs.append((engine.prepare_query(each.query), engine.prepare_products([each.product])[0]))
    alone = [float(engine.score_pairs([pair])[0]) for pair in pairs]
    together = [float(logit) for logit in engine.score_pairs(pairs)]
    for how, logits in (("alone", alone), ("in a batch", together)):
        for each, logit in zip(golden, logits, strict=True):
            expected = each.logits[variant.name]
            if not abs(logit - expected) <= variant.golden_tolerance:
                raise EngineError(
                    f"{path}: the golden pair of query {each.query!r} scored {how} gave {logit:.6g}, expected "
                    f"{expected:.6g} within {variant.golden_tolerance:g}"
                )


def _warm_up(artifact: Artifact, engine: Engine, budget_tokens: int, cost: CostModel) -> None:
    """Runs micro-batches as large as they get, so that the first request pays for no first touch and has a price."""
    golden = artifact.manifest.golden_pairs[0]
    query = engine.prepare_query(golden.query)
    product = engine.prepare_products([golden.product])[0]
    tokens = engine.pair_tokens(query, product)
    pairs = max(1, budget_tokens // tokens)
    for run in range(WARM_UP_RUNS):
        started = time.monotonic()
        engine.score_pairs([(query, product)] * pairs)
        if run > 0:
            cost.observe_pairs(time.monotonic() - started, pairs, tokens)


def _warm_up_encoders(artifact: Artifact, engine: SplitEngine, encode_tokens: int, cost: CostModel) -> None:
    """The same for the encoders of either side."""
    golden = artifact.manifest.golden_pairs[0]
    engine.forget()
    (fresh,) = engine.recall_products([golden.product])
    assert isinstance(fresh, Fresh)
    products = max(1, encode_tokens // fresh.tokens)
    tokens = engine.outlook(golden.query, [golden.product]).query_tokens
    for run in range(WARM_UP_RUNS):
        started = time.monotonic()
        engine.prepare_query(golden.query)
        prepared = time.monotonic()
        engine.encode_products([fresh] * products)
        if run > 0:
            cost.observe_query(prepared - started, tokens)
            cost.observe_encode(time.monotonic() - prepared, products, fresh.tokens)

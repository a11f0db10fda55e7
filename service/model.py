"""Loads the artifact that the settings name, and proves that it scores as it must before anything is served."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from artifact import Artifact, Manifest, Variant, load_artifact
from artifact.loading import MANIFEST_FILE

from .cost import CostModel
from .engine import Engine
from .metrics import Metrics
from .onnx_engine import OnnxEngine
from .sessions import EngineError, choose_variant
from .settings import Settings

WARM_UP_RUNS = 3


@dataclass(frozen=True, slots=True)
class Model:
    """A verified model ready to score, and what its work has cost so far."""

    manifest: Manifest
    variant: Variant
    engine: Engine
    cost: CostModel = field(default_factory=CostModel)

    def description(self) -> dict[str, Any]:
        """What GET /models says of it."""
        shown = {"name", "version", "architecture", "template", "evaluation"}
        manifest = self.manifest.model_dump(mode="json", include=shown)
        return {**manifest, "variant": self.variant.name, "precision": self.variant.precision}


def load_model(settings: Settings, metrics: Metrics) -> Model:
    """Loads, verifies and warms up a model. Blocks for about a second.

    Raises:
        artifact.ArtifactError: the folder is not a sound artifact, or lacks the variant.
        EngineError: the variant does not run here, or misses its golden logits.
    """
    artifact = load_artifact(settings.model_dir)
    variant = choose_variant(artifact.manifest, settings.model_dir / MANIFEST_FILE, settings.device, settings.precision)
    engine = OnnxEngine(artifact, variant, settings.token_cache_bytes, metrics)
    check_golden_pairs(artifact, variant, engine)
    cost = CostModel(variant.latency, settings.budget_tokens)
    _warm_up(artifact, engine, settings.budget_tokens, cost)
    return Model(artifact.manifest, variant, engine, cost)


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
    query: Sequence[np.int64] = engine.prepare_query(golden.query)
    product = engine.prepare_products([golden.product])[0]
    tokens = engine.pair_tokens(query, product)
    pairs = max(1, budget_tokens // tokens)
    for run in range(WARM_UP_RUNS):
        started = time.monotonic()
        engine.score_pairs([(query, product)] * pairs)
        if run > 0:
            cost.observe_pairs(time.monotonic() - started, pairs, tokens)

"""Which architectures can be a teacher, which of them read a prompt, and whether a template fits their positions."""

from typing import Any

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from ..config import Teacher
from ..errors import TrainingError
from ..pretrained import load

OFFSET_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "mpnet", "ibert"}
"""Families whose first position comes after the padding token's id: RoBERTa has 512 of its 514 for tokens."""


def is_decoder(model_type: str) -> bool:
    """Whether a family reads left to right, so that its last token alone has seen the whole pair."""
    return model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def check_teacher(settings: Teacher) -> None:
    """Refuses, before any work, a model that cannot be the teacher.

    Raises:
        TrainingError: naming the model and what is expected of it.
    """
    config = load(AutoConfig, settings.model)
    known = config.model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    if not known or getattr(config, "is_encoder_decoder", False):
        raise TrainingError(
            f"{settings.model}: expected an encoder or a decoder with a sequence classifier, found {config.model_type}"
        )
    positions, wanted = _positions(config), settings.template.max_tokens
    if positions is not None and wanted > positions:
        raise TrainingError(
            f"{settings.model}: has {positions} positions, its template allows pairs of {wanted} tokens: "
            "lower max_tokens"
        )


def _positions(config: Any) -> int | None:
    """How many tokens a pair may have; None where positions are not counted."""
    positions = getattr(config, "max_position_embeddings", None)
    if not positions or positions < 0:
        return None
    if config.model_type in OFFSET_POSITIONS:
        return int(positions) - int(config.pad_token_id or 0) - 1
    return int(positions)

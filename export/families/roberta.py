"""RoBERTa, XLM-R and CamemBERT: BERT with one token type, positions that start late, and a head without pooler."""

from dataclasses import replace

from ..graph import Floats
from .bert import bert_shape
from .family import PLAIN_ENCODER, Config, Family


def _finish(weights: dict[str, Floats], config: Config) -> dict[str, Floats]:
    positions = "bert.embeddings.position_embeddings.weight"
    return {**weights, positions: weights[positions][config.pad_token_id + 1 :]}


ROBERTA = Family(
    model_type="roberta",
    classifier="RobertaForSequenceClassification",
    encoder="roberta.",
    shape=bert_shape,
    renames=(
        (r"^roberta\.", "bert."),
        (r"^classifier\.dense\.", "bert.pooler.dense."),
        (r"^classifier\.out_proj\.", "classifier."),
    ),
    finish=_finish,
    supported=PLAIN_ENCODER,
    max_positions=lambda config: int(config.max_position_embeddings - config.pad_token_id - 1),
)
"""A token's position is counted from the row after the padding token's id."""

XLM_ROBERTA = replace(ROBERTA, model_type="xlm-roberta", classifier="XLMRobertaForSequenceClassification")
CAMEMBERT = replace(ROBERTA, model_type="camembert", classifier="CamembertForSequenceClassification")

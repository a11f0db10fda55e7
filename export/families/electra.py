"""ELECTRA: BERT with embeddings of a width of their own, and a GELU in its head."""

from dataclasses import replace

from ..bert import BertShape
from .bert import bert_shape
from .family import PLAIN_ENCODER, Config, Family


def _shape(config: Config) -> BertShape:
    return replace(bert_shape(config), embedding_size=config.embedding_size, head_activation="gelu")


ELECTRA = Family(
    model_type="electra",
    classifier="ElectraForSequenceClassification",
    encoder="electra.",
    shape=_shape,
    renames=(
        (r"^electra\.", "bert."),
        (r"^classifier\.dense\.", "bert.pooler.dense."),
        (r"^classifier\.out_proj\.", "classifier."),
    ),
    supported=PLAIN_ENCODER,
    reads_token_types=lambda config: config.type_vocab_size > 1,
)

"""ModernBERT and DeBERTa: families whose graph is traced from transformers' code."""

from ..bert import BertShape
from .family import Config, Family


def _shape(config: Config) -> BertShape:
    return BertShape(
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        heads=config.num_attention_heads,
        layer_norm_eps=getattr(config, "layer_norm_eps", None) or config.norm_eps,
        embedding_size=config.hidden_size,
    )


MODERNBERT = Family(
    model_type="modernbert",
    classifier="ModernBertForSequenceClassification",
    encoder="model.",
    shape=_shape,
    traced=True,
)
DEBERTA = Family(
    model_type="deberta",
    classifier="DebertaForSequenceClassification",
    encoder="deberta.",
    shape=_shape,
    reads_token_types=lambda config: config.type_vocab_size > 1,
    traced=True,
)
DEBERTA_V2 = Family(
    model_type="deberta-v2",
    classifier="DebertaV2ForSequenceClassification",
    encoder="deberta.",
    shape=_shape,
    reads_token_types=lambda config: config.type_vocab_size > 1,
    traced=True,
)

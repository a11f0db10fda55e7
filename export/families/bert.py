"""BERT, and what is trained in its shape: MiniLM and most small rerankers."""

from ..bert import BertShape
from .family import ACTIVATIONS, PLAIN_ENCODER, Config, Family


def bert_shape(config: Config) -> BertShape:
    """The shape of a configuration with BERT's keys."""
    return BertShape(
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        heads=config.num_attention_heads,
        layer_norm_eps=config.layer_norm_eps,
        embedding_size=config.hidden_size,
        activation=ACTIVATIONS[config.hidden_act],
    )


BERT = Family(
    model_type="bert",
    classifier="BertForSequenceClassification",
    encoder="bert.",
    shape=bert_shape,
    supported=PLAIN_ENCODER,
    reads_token_types=lambda config: config.type_vocab_size > 1,
)

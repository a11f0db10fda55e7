"""DistilBERT: BERT without token types and pooler, with a ReLU in its head."""

from ..bert import BertShape
from .family import ACTIVATIONS, Config, Family

LAYER_NORM_EPS = 1e-12
"""Fixed in transformers' code, not a setting."""


def _shape(config: Config) -> BertShape:
    return BertShape(
        layers=config.n_layers,
        hidden_size=config.dim,
        heads=config.n_heads,
        layer_norm_eps=LAYER_NORM_EPS,
        embedding_size=config.dim,
        activation=ACTIVATIONS[config.activation],
        head_activation="relu",
    )


DISTILBERT = Family(
    model_type="distilbert",
    classifier="DistilBertForSequenceClassification",
    encoder="distilbert.",
    shape=_shape,
    renames=(
        (r"^distilbert\.transformer\.", "bert.encoder."),
        (r"^distilbert\.", "bert."),
        (r"\.attention\.([qkv])_lin\.", r".attention.self.\1."),
        (r"\.self\.q\.", ".self.query."),
        (r"\.self\.k\.", ".self.key."),
        (r"\.self\.v\.", ".self.value."),
        (r"\.attention\.out_lin\.", ".attention.output.dense."),
        (r"\.sa_layer_norm\.", ".attention.output.LayerNorm."),
        (r"\.ffn\.lin1\.", ".intermediate.dense."),
        (r"\.ffn\.lin2\.", ".output.dense."),
        (r"\.output_layer_norm\.", ".output.LayerNorm."),
        (r"^pre_classifier\.", "bert.pooler.dense."),
    ),
    supported={"activation": (("gelu", "relu"), "the graph computes these")},
)

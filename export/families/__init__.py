"""The families of sequence classifiers that export reads, each described in a file of its own.

BERT, DistilBERT, RoBERTa, XLM-R and ELECTRA compute alike: their shape and weights are brought to BERT's, whose graph
bert.py writes. ModernBERT and DeBERTa compute otherwise: transformers' own code is traced, see traced.py.
"""

from .bert import BERT
from .distilbert import DISTILBERT
from .electra import ELECTRA
from .family import Family
from .roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA
from .traced import DEBERTA, DEBERTA_V2, MODERNBERT

__all__ = ["FAMILIES", "Family"]

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        BERT,
        DISTILBERT,
        ROBERTA,
        XLM_ROBERTA,
        CAMEMBERT,
        ELECTRA,
        MODERNBERT,
        DEBERTA,
        DEBERTA_V2,
    )
}
"""`model_type` of config.json -> its family."""

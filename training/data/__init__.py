"""Data sources: readers into pairs, products and queries; splits; refusal of leakage."""

from .readers import read_all_judgements, read_catalogue, read_judgements, read_queries, read_rows
from .schema import JudgedPair
from .splits import loose_key, normalise_query, refuse_leakage, split_of

__all__ = [
    "JudgedPair",
    "loose_key",
    "normalise_query",
    "read_all_judgements",
    "read_catalogue",
    "read_judgements",
    "read_queries",
    "read_rows",
    "refuse_leakage",
    "split_of",
]

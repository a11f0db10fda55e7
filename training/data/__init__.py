"""Data sources: readers into canonical tables of pairs, products and queries; splits; refusal of leakage."""

from .prepare import catalogue_products, judged_batches, judged_pairs, prepare, queries, row_counts
from .readers import read_all_judgements, read_catalogue, read_judgements, read_queries, read_rows
from .schema import PAIRS, PRODUCTS, QUERIES, JudgedPair
from .splits import loose_key, normalise_query, refuse_leakage, split_of

__all__ = [
    "PAIRS",
    "PRODUCTS",
    "QUERIES",
    "JudgedPair",
    "catalogue_products",
    "judged_batches",
    "judged_pairs",
    "loose_key",
    "normalise_query",
    "prepare",
    "queries",
    "read_all_judgements",
    "read_catalogue",
    "read_judgements",
    "read_queries",
    "read_rows",
    "refuse_leakage",
    "row_counts",
    "split_of",
]

"""Data sources: readers into pairs, products and queries; splits; refusal of leakage."""

from .readers import (
    JudgedPair,
    normalise_query,
    read_all_judgements,
    read_catalogue,
    read_judgements,
    read_queries,
    read_rows,
    refuse_leakage,
    split_of,
)

__all__ = [
    "JudgedPair",
    "normalise_query",
    "read_all_judgements",
    "read_catalogue",
    "read_judgements",
    "read_queries",
    "read_rows",
    "refuse_leakage",
    "split_of",
]

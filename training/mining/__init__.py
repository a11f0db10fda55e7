"""Candidate mining: which products a query is compared with, without human labels."""

from .mine import DONE_FILE, mine, mined_shards, training_queries

__all__ = ["DONE_FILE", "mine", "mined_shards", "training_queries"]

"""Candidate mining: which products a query is compared with, without human labels."""

from .mine import mine
from .queries import training_queries
from .shards import DONE_FILE, mined_shards

__all__ = ["DONE_FILE", "mine", "mined_shards", "training_queries"]

"""Candidate mining: which products a query is compared with, without human labels."""

from .mine import mine
from .queries import training_queries
from .shards import DONE_FILE, mined_shards
from .weak_labels import weak_labels, weak_pairs

__all__ = ["DONE_FILE", "mine", "mined_shards", "training_queries", "weak_labels", "weak_pairs"]

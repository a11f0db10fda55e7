"""The teacher: fine-tuned on human grades, and the untrained similarity that it starts from."""

from .similarity import SentenceEncoder, Similarity
from .teacher import SHORTCUT_FILE, fit_similarity, read_teacher, similarity_of, train_teacher

__all__ = [
    "SHORTCUT_FILE",
    "SentenceEncoder",
    "Similarity",
    "fit_similarity",
    "read_teacher",
    "similarity_of",
    "train_teacher",
]

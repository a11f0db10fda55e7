"""The teacher: fine-tuned on human grades, and the untrained similarity that it starts from."""

from .families import check_teacher
from .judged import Judged
from .similarity import SentenceEncoder, Similarity
from .teacher import TEACHER_FILE, TeacherLabeller, fit_similarity, read_teacher, similarity_of
from .train import train_teacher

__all__ = [
    "TEACHER_FILE",
    "Judged",
    "SentenceEncoder",
    "Similarity",
    "TeacherLabeller",
    "check_teacher",
    "fit_similarity",
    "read_teacher",
    "similarity_of",
    "train_teacher",
]

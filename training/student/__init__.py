"""The student: a small cross-encoder trained on labelled lists."""

from .student import pad_lists, read_student_template, train_student

__all__ = ["pad_lists", "read_student_template", "train_student"]

"""The student: a small cross-encoder trained on labelled lists."""

from .student import fit_student, pad_lists, read_student_template, train_student

__all__ = ["fit_student", "pad_lists", "read_student_template", "train_student"]

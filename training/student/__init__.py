"""The student: a small model trained on labelled lists."""

from .student import StudentModel, fit_student, pad_lists, read_student, read_student_template, train_student

__all__ = ["StudentModel", "fit_student", "pad_lists", "read_student", "read_student_template", "train_student"]

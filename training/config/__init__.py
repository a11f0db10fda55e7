"""The configuration of a run: data sources and the settings of each stage, one file per part."""

from .config import Config, read_config
from .data import Catalogue, Data, Judgements, Queries
from .evaluation import Evaluation
from .mining import Mining, Pool, WeakLabels
from .optimisation import Optimisation, Precision
from .student import INIT_FROM_TEACHER, Shortcut, Split, SplitShape, Student, StudentDev, StudentStage
from .teacher import Teacher

__all__ = [
    "INIT_FROM_TEACHER",
    "Catalogue",
    "Config",
    "Data",
    "Evaluation",
    "Judgements",
    "Mining",
    "Optimisation",
    "Pool",
    "Precision",
    "Queries",
    "Shortcut",
    "Split",
    "SplitShape",
    "Student",
    "StudentDev",
    "StudentStage",
    "Teacher",
    "WeakLabels",
    "read_config",
]

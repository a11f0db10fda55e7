"""The configuration of a run, read from one TOML file."""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from ..errors import TrainingError
from .data import Data
from .evaluation import Evaluation
from .mining import Mining
from .settings import Settings
from .student import Student
from .teacher import Teacher


class Config(Settings):
    """Everything that decides a run's outcome."""

    seed: int = Field(default=0, ge=0)
    encoder: str = Field(default="all-MiniLM-L6-v2", description="sentence encoder of similarities and dense mining")
    data: Data
    mining: Mining
    teacher: Teacher
    student: Student
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _names_hold(self) -> Self:
        pools = [*(c.pool for c in self.data.catalogues), *(j.pool for j in self.data.judgements)]
        used = {pool for pool in pools if pool is not None}
        if used != set(self.mining.pools):
            raise ValueError(f"mining.pools names {sorted(self.mining.pools)}, the data sources name {sorted(used)}")
        for kind, sources in (
            ("judgements", self.data.judgements),
            ("catalogues", self.data.catalogues),
            ("queries", self.data.queries),
        ):
            names = [source.name for source in sources]
            if len(set(names)) < len(names):
                raise ValueError(f"data.{kind}: every source needs a name of its own, not {names}")
        return self


def read_config(path: Path) -> Config:
    """Reads a TOML configuration.

    Raises:
        TrainingError: naming the file, the setting and what was expected.
    """
    try:
        return Config.model_validate(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in e['loc']) or 'top'}: {e['msg']}"
            for e in error.errors()
            if e["type"] != "too_short" or len(error.errors()) == 1
        ]
        raise TrainingError(f"{path}: settings that do not hold:\n" + "\n".join(lines)) from error

"""Why an artifact, or a file of product states, is refused. Every refusal names the file and what was expected."""

from pathlib import Path


class ArtifactError(Exception):
    """An artifact folder that must not be served.

    Args:
        path: the file or folder at fault.
        problem: what is wrong with it, and what was expected instead.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class StatesError(Exception):
    """A file of product states that must not be read, or cannot be written.

    Args:
        path: the file at fault.
        problem: what is wrong with it, and what to do.
        reason: in a word, such as `other_states` for those of another artifact; for metrics.
    """

    def __init__(self, path: Path, problem: str, reason: str = "damaged") -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
        self.reason = reason

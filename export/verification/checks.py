"""Named checks that are timed, told as they finish, and gone on from after a failure."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from artifact import ArtifactError

from ..errors import ExportError

Say = Callable[[str], None]
Result = Literal["ok", "FAIL", "skipped"]


class SkippedError(Exception):
    """A check that cannot be made here, or makes no sense after another failed. Says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: one sentence, the same as facts for a program, and lines of a table to tell after it."""

    sentence: str
    facts: dict[str, Any] = field(default_factory=dict)
    table: Sequence[str] = ()


def joined(findings: Sequence[Finding]) -> Finding:
    """Those of several files in one; the facts are the first's."""
    sentences = dict.fromkeys(finding.sentence for finding in findings)
    return Finding("; ".join(sentences), findings[0].facts, [line for finding in findings for line in finding.table])


@dataclass(slots=True)
class Check:
    """One check, of a variant or, where `variant` is empty, of the whole artifact."""

    name: str
    variant: str
    result: Result = "ok"
    finding: Finding = Finding("")
    seconds: float = 0.0

    def __str__(self) -> str:
        about = f"{self.variant}: " if self.variant else ""
        return f"{self.result:<7}  {self.name:<14}  {about}{self.finding.sentence}  [{self.seconds:.1f} s]"

    def as_dict(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "check": self.name,
            "variant": self.variant or None,
            "result": self.result,
            "found": self.finding.sentence,
            "seconds": round(self.seconds, 3),
            **self.finding.facts,
        }


class Checks:
    """Runs checks and keeps what came of them.

    Args:
        say: takes each finished check's lines.
        clock: monotonic, in seconds.
    """

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self.done: list[Check] = []
        self.say = say
        self._clock = clock

    @contextmanager
    def __call__(self, name: str, variant: str = "") -> Iterator[Check]:
        """One check: the block sets its finding; an error in the block fails it, `SkippedError` skips it."""
        check = Check(name, variant)
        start = self._clock()
        try:
            yield check
        except SkippedError as reason:
            check.result, check.finding = "skipped", Finding(str(reason))
        except (ArtifactError, ExportError, OSError) as error:
            check.result, check.finding = "FAIL", Finding(str(error).removeprefix(f"{variant}: "))
        except Exception as error:  # files of anybody's making break libraries in ways of their own
            check.result, check.finding = "FAIL", Finding(f"{type(error).__name__}: {error}".partition("\n")[0])
        check.seconds = self._clock() - start
        self.done.append(check)
        for line in (str(check), *check.finding.table):
            self.say(line)

    def count(self, result: Result) -> int:
        """How many checks ended so."""
        return sum(check.result == result for check in self.done)

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return self.count("FAIL") == 0

    def summary(self) -> str:
        """The last line."""
        failed, skipped = self.count("FAIL"), self.count("skipped")
        if failed:
            names = ", ".join(dict.fromkeys(check.name for check in self.done if check.result == "FAIL"))
            verdict = f"FAILED: {names}; {failed} of {len(self.done)} checks"
        else:
            verdict = f"passed: {self.count('ok')} checks"
        return verdict + (f", {skipped} skipped" if skipped else "")

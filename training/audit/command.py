"""`python -m training audit FILES --run RUN`: what a run's teacher thinks of the scores that a service gave."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from artifact.loading import sha256_of

from ..errors import TrainingError
from ..label import label_shards
from ..runs import Run, locked, read_run, write_json
from ..teacher.teacher import TEACHER_FILE, read_teacher, similarity_of
from .reading import audit_files
from .report import Asked, as_text, compare
from .shards import KEY_DIGITS, shard_file

REPORT_FILE = "report.json"


def audit(arguments: Sequence[str]) -> None:
    """Scores the pairs of audit files by a teacher, going on where it was stopped, and prints the disagreement.

    Raises:
        TrainingError: there is no such file or run, or a line is no pair.
    """
    options = _parser().parse_args(arguments)
    run = read_run(options.run, Path(), needs_data=False)
    teacher = run.teacher / TEACHER_FILE
    if not teacher.exists():
        raise TrainingError(f"{run.folder}: has no finished teacher; run the stage `teacher` first")
    files = audit_files(options.files)
    folder: Path = options.out or run.folder / "audit"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", str(folder)):
        found = [shard_file(path, folder / "pairs", skip_bad_lines=options.skip_bad_lines) for path in files]
        shards = list(dict.fromkeys(path for each in found for path in each.paths))
        if not shards:
            raise TrainingError(f"{files[0]}: holds no pair")
        labelled = folder / f"teacher-{sha256_of(teacher)[:KEY_DIGITS]}"
        _label(run, shards, labelled)
        report = compare(
            (labelled / path.name for path in shards), Asked(relevant=options.relevant, worst=options.worst)
        )
        report = {"run": run.folder.name, "files": [path.name for path in files], **report}
        report["bad_lines"] = sum(each.bad_lines for each in found)
        path = folder / REPORT_FILE
        write_json(path, report)
    print(as_text(report))  # noqa: T201 - the report is what was asked for
    if report["bad_lines"]:
        print(f"\nLines left out, being no pairs: {report['bad_lines']}.")  # noqa: T201
    print(f"\nAll figures and the worst pairs in full: {path}")  # noqa: T201


def _label(run: Run, shards: Sequence[Path], folder: Path) -> None:
    todo = [path for path in shards if not (folder / path.name).exists()]
    if todo:
        print(f"audit: {len(shards) - len(todo)} of {len(shards)} shards have the teacher's labels", file=sys.stderr)  # noqa: T201
        label_shards(read_teacher(run, similarity_of(run)), todo, folder, "teacher")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training audit",
        description="A run's teacher scores the pairs of a service's audit files; the report says where they disagree.",
    )
    parser.add_argument("files", nargs="+", type=Path, help="audit files, or folders of them")
    parser.add_argument(
        "--run", type=Path, default=Path("runs/default"), help="folder of the teacher's run (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the teacher's labels and report.json (default: audit in the run)"
    )
    parser.add_argument(
        "--relevant",
        type=_probability,
        default=0.5,
        help="from which of the teacher's probabilities on a product is relevant, for the AUC (default: %(default)s)",
    )
    parser.add_argument("--worst", type=_count, default=20, help="how many of the worst pairs (default: %(default)s)")
    parser.add_argument("--skip-bad-lines", action="store_true", help="leave out lines that are no pairs")
    return parser


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("expected a number from 0 to 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("expected 0 or more")
    return value

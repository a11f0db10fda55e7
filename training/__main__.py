"""Command line of the pipeline: python -m training all|data|teacher|mine|label|student|evaluate, and audit."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from artifact import ArtifactError

from .config import Config, read_config
from .errors import TrainingError
from .runs import Run

DEFAULT_CONFIG = Path(__file__).parent / "configs" / "default.toml"

SHARED_STAGES = ("teacher", "student")
"""Stages that several processes can work on together, started by `accelerate launch`."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one stage, or all in order; a finished stage is not run again, an interrupted one goes on."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given[:1] == ["audit"]:
            from .audit.command import audit

            audit(given[1:])
            return 0
        options = _parser().parse_args(given)
        config = read_config(options.config)
        if options.stage == "evaluate":
            _evaluate(options, config)
        else:
            _train(options, config)
    except (TrainingError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; the same command goes on once that is mended", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stage", choices=["all", "data", "teacher", "mine", "label", "student", "evaluate"])
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="TOML configuration (default: %(default)s)")
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder of the data files (default: %(default)s)"
    )
    parser.add_argument(
        "--run", type=Path, default=Path("runs/default"), help="folder of the run (default: %(default)s)"
    )
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        help="evaluate: also the model that this service serves; of several the last is compared with the others",
    )
    parser.add_argument("--key", help="evaluate: the service's API key")
    parser.add_argument(
        "--html", type=Path, help="evaluate: where to write the report (default: report.html in the run)"
    )
    parser.add_argument("--split", choices=["train", "test"], default="test", help="evaluate: on which split")
    return parser


def _train(options: argparse.Namespace, config: Config) -> None:
    from .cross_encoder import check_models
    from .data import prepare
    from .label import label
    from .mining import mine
    from .parallel import opened, processes
    from .runs import commit
    from .student import train_student
    from .teacher import train_teacher

    stages = {
        "data": _by_the_main_process(prepare),
        "teacher": train_teacher,
        "mine": mine,
        "label": label,
        "student": train_student,
    }
    check_models(config)
    if processes().count > 1 and options.stage not in SHARED_STAGES:
        raise TrainingError(f"several processes can share the stages {' and '.join(SHARED_STAGES)}; run others in one")
    code = commit()
    with opened(options.run, config, options.data) as run:
        # every stage reads the tables that `data` makes
        for name in stages if options.stage == "all" else dict.fromkeys(["data", options.stage]):
            start, worked = time.monotonic(), True
            try:
                worked = stages[name](run)
            finally:
                if worked and processes().main:
                    run.note(name, time.monotonic() - start, code)
            if processes().main and (worked or name == options.stage or options.stage == "all"):
                print(f"{name}: done, in {run.folder}")


def _by_the_main_process(stage: Callable[[Run], bool]) -> Callable[[Run], bool]:
    """The stage worked on by one process while the others wait."""

    def run_stage(run: Run) -> bool:
        from .parallel import processes, wait

        worked = processes().main and stage(run)
        wait()
        return worked

    return run_stage


def _evaluate(options: argparse.Namespace, config: Config) -> None:
    from .evaluation.table import print_evaluation

    print_evaluation(
        config, options.data, options.run, options.split, options.url, options.key, options.html, config.evaluation
    )


if __name__ == "__main__":
    sys.exit(main())

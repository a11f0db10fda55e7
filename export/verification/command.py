"""The commands `verify` and `compare`: their options, their output, their exit codes."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from artifact import ArtifactError

from ..errors import ExportError
from .compare import compare
from .verification import Options
from .verify import verify

CHECKS = ("verify", "compare")
FAILED, UNREADABLE = 1, 2


def check(arguments: argparse.Namespace) -> int:
    """Runs one of `CHECKS`; 0 when all is well, 1 when a check of `verify` failed, 2 when something is unreadable."""
    try:
        if arguments.command == "compare":
            report, code = compare(arguments.a, arguments.b, _say, arguments.pairs, arguments.judged), 0
        else:
            options = Options(
                arguments.pairs, arguments.calibration, arguments.checkpoint, arguments.judged, arguments.seed
            )
            report, code = _verify(arguments.artifact, options)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    except (ArtifactError, ExportError, OSError) as error:
        sys.stderr.write(f"export: {error}\n")
        return UNREADABLE
    return code


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the two to the command line."""
    one = commands.add_parser("verify", help="checks a finished artifact; fails if anything is not as it must be")
    one.add_argument("artifact", type=Path, help="folder of the artifact")
    one.add_argument("--pairs", type=int, default=1000, help="how many pairs to check on (default: %(default)s)")
    one.add_argument("--calibration", type=Path, help='take them from lines of {"query", "product"}; else made up')
    one.add_argument("--checkpoint", type=Path, help="folder that it was exported from: compares with torch")
    one.add_argument("--seed", type=int, default=0, help="of pairs and neighbours (default: %(default)s)")
    two = commands.add_parser("compare", help="quality, size and speed of two artifacts, or of two variants of one")
    for name in ("a", "b"):
        two.add_argument(name, help="folder of an artifact, FOLDER:VARIANT for one of its variants")
    two.add_argument("--pairs", type=Path, help='score lines of {"query", "product"}; else made-up pairs')
    for command in (one, two):
        command.add_argument(
            "--judged", type=Path, help='lines of {"query", "product", "target"}, targets in 0 to 1: calibration error'
        )
        command.add_argument("--json", type=Path, help="write the same facts to this file")


def _verify(folder: Path, options: Options) -> tuple[dict[str, Any], int]:
    checks, manifest = verify(folder, _say, options)
    report = {
        "name": None if manifest is None else manifest.name,
        "version": None if manifest is None else manifest.version,
        "passed": checks.passed,
        "checks": [each.as_dict() for each in checks.done],
    }
    return report, 0 if checks.passed else FAILED


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()

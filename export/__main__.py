"""Command line: `python -m export COMMAND`. Progress goes to standard error, reports to standard output."""

import argparse
import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read by ONNX Runtime when it is imported, just below

from artifact import ArtifactError
from artifact.errors import StatesError
from training.errors import TrainingError
from training.pretrained import resolve

from .attention import SPELLINGS
from .catalogue import Columns, parse_columns
from .errors import ExportError
from .from_hf import Architecture, HubExport, export_from_hf
from .from_run import export_run
from .front import make_front
from .gpu_check import gpu_check
from .input_reference import add_input_reference
from .label import label_run
from .peers import write_peer
from .plain import export_plain
from .plan import ALL_VARIANTS, VARIANTS
from .profile import profile
from .progress import Progress
from .remeasure import remeasure
from .speed import PAIRS, measure_speed
from .split.speed import measure_split_speed
from .states import compute_states
from .verification.command import CHECKS, add_commands, check

RESUMED = {
    "label": "the same command goes on from the last whole shard",
    "states": "the same command goes on from the last whole product",
}
"""Commands whose work an interruption does not lose."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when it wrote what it was asked for, 1 when it refused, 130 when it was stopped.

    `verify` and `compare`: as `verification.command.check` says.
    """
    arguments = _parser().parse_args(argv)
    left = RESUMED.get(arguments.command, "nothing was written")
    try:
        if arguments.command in CHECKS:
            return check(arguments)
        if arguments.command == "run":
            variants = tuple(arguments.variants.split(","))
            export_run(arguments.run, arguments.data, arguments.out, arguments.name, variants, arguments.attention)
        elif arguments.command == "peer":
            write_peer(Path(resolve(arguments.checkpoint)), arguments.out)
        elif arguments.command == "label":
            label_run(arguments.run, arguments.data)
        elif arguments.command == "states":
            options = {"variant": arguments.variant, "columns": arguments.columns}
            print(compute_states(arguments.catalogue, arguments.artifact, arguments.folder, **options))
        elif arguments.command == "profile":
            print(profile(arguments.artifact, arguments.variant, arguments.pairs))
        elif arguments.command == "latency":
            manifest = remeasure(arguments.artifact, Progress())
            print(f"{arguments.artifact}: version {manifest.version}")
        elif arguments.command == "reference":
            manifest = add_input_reference(arguments.artifact, arguments.pairs)
            print(f"{arguments.artifact}: version {manifest.version}")
        elif arguments.command == "gpu-check":
            report = gpu_check(arguments.source, arguments.rounds, Progress())
            report.write(arguments.out)
            print(report)
            return 0 if report.passed else 1
        elif arguments.command == "speed":
            print(measure_speed(Path(resolve(arguments.checkpoint)), arguments.rounds, Progress()))
        elif arguments.command == "front":
            worlds = dict(arguments.worlds)
            table = make_front(worlds, arguments.artifacts, arguments.picture, arguments.rounds, Progress())
            print(table)
        elif arguments.command == "split-speed":
            print(measure_split_speed(arguments.artifact, arguments.rounds, Progress()))
        elif arguments.command == "from-hf":
            export_from_hf(_hub_export(arguments), arguments.out)
        else:
            variants = tuple(arguments.variants.split(","))
            export_plain(
                Path(resolve(arguments.checkpoint)),
                arguments.out,
                arguments.name,
                _today(),
                variants=variants,
                attention=arguments.attention,
            )
    except (ArtifactError, ExportError, StatesError, TrainingError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"export: {error}; {left}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nexport: stopped; {left}", file=sys.stderr)
        return 130
    return 0


def _hub_export(arguments: argparse.Namespace) -> HubExport:
    return HubExport(
        model=arguments.checkpoint,
        name=arguments.name,
        created=_today(),
        template=arguments.template,
        fields=arguments.fields,
        max_tokens=arguments.max_tokens,
        max_query_tokens=arguments.max_query_tokens,
        gains=arguments.gains,
        calibration=arguments.calibration,
        variants=tuple(arguments.variants.split(",")),
        attention=arguments.attention,
        architecture=arguments.architecture,
    )


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def _columns(text: str) -> Columns:
    try:
        return parse_columns(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _gains(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 0,0.5,1, got {text!r}") from None


def _world(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER, got {text!r}")
    return name, Path(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description="Turns checkpoints into artifacts.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="the student of a finished training run, calibrated and evaluated")
    run.add_argument("run", type=Path, help="folder of the run")
    run.add_argument("out", type=Path, help="folder to write")
    label = commands.add_parser("label", help="labels a run's candidates by its teacher, in the engine fastest here")
    label.add_argument("run", type=Path, help="folder of the run")
    for command in (run, label):
        command.add_argument(
            "--data", type=Path, default=Path("data"), help="folder of the run's data (default: %(default)s)"
        )
    run.add_argument("--name", default="default", help="name of the model in the manifest (default: %(default)s)")
    where = commands.add_parser("profile", help="where the milliseconds of an artifact go, operator by operator")
    where.add_argument("artifact", type=Path, help="folder of the artifact")
    where.add_argument("--variant", help="a variant for CPU (default: cpu-int8 where there is one)")
    where.add_argument("--pairs", type=_positive, default=PAIRS, help="of about 36 tokens (default: %(default)s)")
    speed = commands.add_parser(
        "speed", help="our int8 beside the field's standard export of the same weights, and beside the bound"
    )
    speed.add_argument("checkpoint", nargs="?", default="all-MiniLM-L6-v2", help="default: %(default)s")
    graphs = commands.add_parser("split-speed", help="how long each of the three graphs of a split model takes")
    graphs.add_argument("artifact", type=Path, help="folder of the artifact")
    for command in (speed, graphs):
        command.add_argument(
            "--rounds", type=_positive, default=30, help="in which contestants take turns (default: %(default)s)"
        )
    latency = commands.add_parser(
        "latency", help="measures the latency table of an artifact again, on the machine that will serve it"
    )
    latency.add_argument("artifact", type=Path, help="folder of the artifact; its version and its scores stay")
    reference = commands.add_parser(
        "reference", help="what a service compares its queries and products with, counted from pairs; docs/drift.md"
    )
    reference.add_argument("artifact", type=Path, help="folder of the artifact; its version and its scores stay")
    reference.add_argument("pairs", type=Path, help="JSONL, a query and a product a line, as for from-hf --calibration")
    states = commands.add_parser(
        "states", help="the states of a catalogue's products for a split model, docs/states.md"
    )
    states.add_argument("catalogue", type=Path, help="CSV, TSV, JSON lines (each also .gz) or parquet")
    states.add_argument("artifact", type=Path, help="folder of the artifact")
    states.add_argument("folder", type=Path, metavar="DIR", help="folder to write to")
    states.add_argument("--variant", help="a variant for CPU (default: cpu-int8 where there is one)")
    states.add_argument(
        "--columns", type=_columns, help="such as title=name,brand=maker (default: columns called as the fields)"
    )
    gpu = commands.add_parser("gpu-check", help="verifies and times cuda-fp16 on a machine with a GPU")
    gpu.add_argument("source", nargs="?", default="all-MiniLM-L6-v2", help="artifact or checkpoint (%(default)s)")
    gpu.add_argument("--out", type=Path, default=Path("build/gpu"), help="folder for the report (%(default)s)")
    gpu.add_argument("--rounds", type=_positive, default=200, help="of each size, in turn (default: %(default)s)")
    front = commands.add_parser("front", help="quality against online time of `training.experiments variants`")
    front.add_argument("worlds", nargs="+", type=_world, metavar="NAME=FOLDER", help="results, by a name for people")
    front.add_argument("--artifacts", type=Path, default=Path("build/front"), help="folder of what is timed")
    front.add_argument("--picture", type=Path, default=Path("docs/split-front.svg"), help="SVG to write")
    front.add_argument("--rounds", type=_positive, default=30)

    plain = commands.add_parser("plain", help="an artifact of a checkpoint that comes without data: for speed")
    peer = commands.add_parser("peer", help="the folder that other servers' ONNX rerankers read, for benchmarks")
    for command in (plain, peer):
        command.add_argument("checkpoint", help="folder of a BERT encoder or cross-encoder, or all-MiniLM-L6-v2")
        command.add_argument("out", type=Path, help="folder to write")
    hub = commands.add_parser(
        "from-hf",
        help="any cross-encoder that transformers loads, or an encoder as a split model, see docs/export.md",
    )
    hub.add_argument("checkpoint", metavar="FOLDER_OR_ID", help="folder of a model, or its id on the hub")
    hub.add_argument("out", type=Path, help="folder to write")
    hub.add_argument(
        "--architecture",
        choices=get_args(Architecture),
        default="cross-encoder",
        help="split: of a BERT sentence encoder, untrained: cosine and MaxSim (default: %(default)s)",
    )
    hub.add_argument("--template", type=Path, help="input template, .json or .toml (default: the title alone)")
    hub.add_argument("--fields", help="in place of a template, such as title:64,brand:8")
    hub.add_argument("--max-tokens", type=int, help="of a pair, in place of a template (default: at most 128)")
    hub.add_argument("--max-query-tokens", type=int, help="in place of a template (default: at most 32)")
    hub.add_argument("--gains", type=_gains, help="what each output is worth, 0 to 1, such as 0,0.1,0.5,1")
    hub.add_argument("--calibration", type=Path, help="JSONL of your own pairs for int8 (default: made-up ones)")
    for command in (plain, hub):
        command.add_argument("--name", required=True, help="name of the model in the manifest")
    for command in (run, plain, hub):
        command.add_argument(
            "--attention", choices=SPELLINGS, help="its spelling (default: the faster one on this machine)"
        )
        command.add_argument(
            "--variants",
            default=",".join(VARIANTS),
            help=f"which files to write, out of {', '.join(ALL_VARIANTS)} (default: %(default)s)",
        )
    add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Command line of the experiments: python -m training.experiments world|reproduce|report|throughput|scale|variants."""

import argparse
import json
import sys
from pathlib import Path

from artifact import ArtifactError

from ..errors import TrainingError

DATA = Path("../shared/data")


def main(arguments: list[str] | None = None) -> int:
    """Runs one experiment.

    Returns:
        0; 1 if a limit that was asked for is passed; 2 after an error; 130 if stopped.
    """
    options = _parser().parse_args(arguments)
    commands = {
        "world": _world,
        "reproduce": _reproduce,
        "report": _report,
        "throughput": _throughput,
        "scale": _scale,
        "variants": _variants,
    }
    try:
        return commands[options.command](options)
    except (TrainingError, ArtifactError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; the same command goes on once that is mended", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on with what is left", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.experiments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    world = commands.add_parser("world", help="writes the controlled world's files and says what it is like")
    world.add_argument("--data", type=Path, default=DATA, help="folder of the data files (default: %(default)s)")
    world.add_argument("--out", type=Path, required=True, help="folder of the files")
    world.add_argument("--scale", type=float, default=1.0)

    reproduce = commands.add_parser("reproduce", help="the scaled-down paper, resumable")
    reproduce.add_argument("--data", type=Path, default=DATA, help="folder of the data files (default: %(default)s)")
    reproduce.add_argument("--out", type=Path, default=Path("runs/reproduce"))
    reproduce.add_argument("--world", choices=["controlled", "human", "both"], default="both")
    reproduce.add_argument("--scale", type=float, default=1.0, help="share of pairs and queries (default: all)")
    reproduce.add_argument("--human-run", type=Path, help="a finished run to take teacher and labels from")
    reproduce.add_argument("--label-command", help="labels in place of torch, such as 'python -m export label'")

    reproduce.add_argument(
        "--students", nargs="+", default=[], help="train just these, such as margin-10000, beside other processes"
    )

    report = commands.add_parser("report", help="table and picture of a reproduction into docs/reproduction.md")
    report.add_argument("--results", type=Path, default=Path("runs/reproduce/results.json"))
    report.add_argument("--page", type=Path, default=Path("docs/reproduction.md"))

    throughput = commands.add_parser("throughput", help="training pairs/s beside a plain transformers.Trainer")
    throughput.add_argument("--data", type=Path, default=DATA, help="folder of the data files (default: %(default)s)")
    throughput.add_argument("--layers", type=int, nargs="+", default=[3, 6])
    throughput.add_argument("--rounds", type=int, default=3)
    throughput.add_argument("--pairs", type=int, default=1280, help="pairs per round and loop")
    throughput.add_argument("--batch-pairs", type=int, default=128)
    throughput.add_argument("--model", default="all-MiniLM-L6-v2")

    scale = commands.add_parser("scale", help="many synthetic rows through every stage, with peak memory")
    scale.add_argument("--rows", type=int, default=10_000_000)
    scale.add_argument("--out", type=Path, default=Path("runs/scale"))
    scale.add_argument("--limit-mb", type=int, default=1500, help="exit 1 beyond this peak (default: %(default)s)")
    scale.add_argument("--keep", action="store_true", help="leave data and run in place")

    variants = commands.add_parser("variants", help="students of several shapes on the labels of a run, resumable")
    variants.add_argument("run", type=Path, help="folder of a run whose lists are labelled")
    variants.add_argument("--data", type=Path, default=DATA, help="folder of the run's data (default: %(default)s)")
    variants.add_argument("--out", type=Path, required=True)
    variants.add_argument("--file", type=Path, help="the variants; without it, those of docs/split.md")
    variants.add_argument("--pairs", type=int, default=100_000, help="labelled pairs to learn from")
    variants.add_argument("--epochs", type=float, default=2.0, help="over them")
    variants.add_argument(
        "--also",
        action="append",
        default=[],
        type=_named,
        metavar="NAME=FOLDER",
        help="a finished student to measure beside them",
    )
    variants.add_argument("--reference", help="name of the one that others are compared with (default: the file's)")
    variants.add_argument("--only", nargs="+", default=[], help="train just these, beside other processes")
    return parser


def _named(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER, got {text!r}")
    return name, Path(folder)


def _world(options: argparse.Namespace) -> int:
    from ..config import read_config
    from .worlds import CATALOGUE, WORLD_CONFIG, world_settings, write_controlled_world

    encoder = read_config(WORLD_CONFIG).encoder
    settings = world_settings(options.scale)
    found = write_controlled_world(options.data / CATALOGUE, encoder, settings, options.out)
    print(json.dumps(found, indent=1))
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from .reproduce import Reproduction, reproduce, say_to_stderr

    worlds = ("controlled", "human") if options.world == "both" else (options.world,)
    what = Reproduction(
        options.out,
        options.data,
        worlds,
        options.scale,
        human_run=options.human_run,
        label_command=options.label_command,
        students=tuple(options.students),
    )
    path = reproduce(what, say_to_stderr)
    if what.students:
        print(f"trained {', '.join(what.students)}; the command without --students measures all")
        return 0
    print(f"results in {path}; `python -m training.experiments report --results {path}` makes the page")
    return 0


def _report(options: argparse.Namespace) -> int:
    from .report import write_report

    write_report(options.results, options.page)
    print(f"wrote {options.page}")
    return 0


def _throughput(options: argparse.Namespace) -> int:
    from .throughput import Workload, compare_loops, read_pairs

    pairs = read_pairs(options.data, options.pairs)
    for layers in options.layers:
        print(compare_loops(Workload(options.model, layers, pairs, options.batch_pairs), options.rounds), flush=True)
    return 0


def _scale(options: argparse.Namespace) -> int:
    from .scale import run_scale

    return run_scale(options.rows, options.out, options.limit_mb, options.keep)


def _variants(options: argparse.Namespace) -> int:
    from ..runs import read_run
    from .reproduce import say_to_stderr
    from .variants import VARIANTS_FILE, Comparison, compare_variants, read_variants

    run, variants = read_run(options.run, options.data), read_variants(options.file or VARIANTS_FILE)
    if options.reference:
        variants = variants.model_copy(update={"reference": options.reference})
    what = Comparison(run, options.out, options.pairs, options.epochs, others=dict(options.also))
    path = compare_variants(what, variants, options.only, say_to_stderr)
    if path is None:
        print(f"trained {', '.join(options.only)}; the command without --only measures all")
    else:
        print(f"results in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

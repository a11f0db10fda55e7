"""The commands: `python -m loadtest COMMAND`. Parses, runs, prints, exits."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from .commands import COMMANDS, add_commands, heed_sigterm, say_err
from .errors import Exit, LoadtestError
from .merge import add_merge_options, merge
from .options import RunOptions, add_run_options
from .slo import become_locust, gate_artifact
from .traffic.building import build_traffic
from .traffic.catalogue import Columns


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    parsed = _parser().parse_args(argv)
    try:
        return int(parsed.run(parsed))
    except LoadtestError as error:
        print(f"loadtest {parsed.command}: {error}", file=sys.stderr)
        return Exit.UNUSABLE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest",
        description="Load tests and benchmarks over HTTP.",
        epilog="Exit codes: 0 held; 1 objective or ratio broken; 2 nothing measured (usage, input, no server); "
        "3 invalid run; 4 a contestant failed; 130 interrupted.",
    )
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="|".join(("slo", "merge", "traffic", *COMMANDS)),
    )
    _add_slo(commands.add_parser("slo", help="does this server hold its objective at this rate?"))
    _add_merge(commands.add_parser("merge", help="the latencies of several slo runs as one"))
    _add_traffic(commands.add_parser("traffic", help="build a traffic file from judgements and a catalogue"))
    add_commands(commands)
    return parser


def _add_slo(parser: argparse.ArgumentParser) -> None:
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--host", default="http://127.0.0.1:8080", help="a server that runs already (default %(default)s)")
    who.add_argument("--artifact", type=Path, metavar="FOLDER", help="start our service on it instead, for the run")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the service that is started, such as LANES=2; may be repeated",
    )
    add_run_options(parser)
    parser.add_argument("--json", dest="result", metavar="FILE", help="the same as --result")
    parser.add_argument("--html", dest="page", metavar="FILE", help="the same as --page")
    parser.set_defaults(run=_slo)


def _slo(parsed: argparse.Namespace) -> int:
    options = RunOptions.of(parsed)
    if parsed.artifact is None:
        if parsed.setting:
            raise LoadtestError("--setting: is for a service that is started here; give --artifact")
        become_locust(parsed.host, options, os.environ)
    heed_sigterm()
    return gate_artifact(parsed.artifact, parsed.setting, options, os.environ, say_err)


def _add_merge(parser: argparse.ArgumentParser) -> None:
    add_merge_options(parser)
    parser.set_defaults(run=_merge)


def _merge(parsed: argparse.Namespace) -> int:
    return merge(parsed, print)


def _add_traffic(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--judgements", type=Path, required=True, metavar="CSV", help="rated (query, product id) pairs")
    parser.add_argument("--catalogue", type=Path, required=True, metavar="CSV", help="products; both may be .csv.gz")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the JSONL file to write")
    parser.add_argument("--products", type=_positive, default=64, help="candidates a query (default %(default)s)")
    parser.add_argument("--requests", type=_positive, help="lines to write (default: one a query)")
    parser.add_argument("--distinct-pairs", action="store_true", help="no query meets a title twice in the whole file")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of candidates (default %(default)s)")
    for column in fields(Columns):
        flag = f"--{column.name.replace('_', '-')}-column"
        parser.add_argument(flag, default=column.default, metavar="NAME", help="default %(default)s")
    parser.set_defaults(run=_traffic)


def _traffic(parsed: argparse.Namespace) -> int:
    columns = Columns(**{column.name: getattr(parsed, f"{column.name}_column") for column in fields(Columns)})
    built = build_traffic(
        parsed.judgements,
        parsed.catalogue,
        parsed.out,
        columns=columns,
        products=parsed.products,
        requests=parsed.requests,
        seed=parsed.seed,
        distinct_pairs=parsed.distinct_pairs,
    )
    print(
        f"{parsed.out}: {built.requests} requests of {parsed.products} products, "
        f"{built.queries} queries, catalogue of {built.products} products"
    )
    if built.rated_missing:
        print(f"{built.rated_missing} rated products are not in the catalogue and were left out", file=sys.stderr)
    return Exit.HELD


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())

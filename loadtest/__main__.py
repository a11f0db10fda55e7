"""The commands: `python -m loadtest COMMAND`. Parses, runs, prints, exits."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from .benchmarks.bench_command import add_bench_options, bench
from .benchmarks.cache_command import add_cache_options, cache
from .benchmarks.overhead_command import add_overhead_options, overhead
from .capacity.command import add_capacity_options, capacity
from .compare.command import add_compare_options, compare
from .errors import Exit, LoadtestError
from .faults.command import add_faults_options, faults
from .merge import add_merge_options, merge
from .options import RunOptions, add_run_options
from .promises.commands import PROMISES, add_promises
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
        metavar="|".join(
            ("slo", "merge", "capacity", "compare", "bench", "overhead", "cache", "traffic", "faults", *PROMISES)
        ),
    )
    _add_slo(commands.add_parser("slo", help="does this server hold its objective at this rate?"))
    _add_merge(commands.add_parser("merge", help="the latencies of several slo runs as one"))
    _add_capacity(commands.add_parser("capacity", help="the highest rate that holds the objective"))
    _add_compare(commands.add_parser("compare", help="servers side by side under open-loop load"))
    _add_bench(commands.add_parser("bench", help="compare servers side by side"))
    _add_overhead(commands.add_parser("overhead", help="what does the service add to ONNX Runtime?"))
    _add_cache(commands.add_parser("cache", help="what do the caches bring, and do they change a score?"))
    _add_traffic(commands.add_parser("traffic", help="build a traffic file from judgements and a catalogue"))
    _add_faults(commands.add_parser("faults", help="what does the service do when things go wrong?"))
    add_promises(commands)
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
    # A polite end stops the service too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return gate_artifact(parsed.artifact, parsed.setting, options, os.environ, _progress)


def _add_merge(parser: argparse.ArgumentParser) -> None:
    add_merge_options(parser)
    parser.set_defaults(run=_merge)


def _merge(parsed: argparse.Namespace) -> int:
    return merge(parsed, print)


def _add_capacity(parser: argparse.ArgumentParser) -> None:
    add_capacity_options(parser)
    parser.set_defaults(run=_capacity)


def _capacity(parsed: argparse.Namespace) -> int:
    return capacity(parsed, os.environ, print, _progress)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    add_compare_options(parser)
    parser.set_defaults(run=_compare)


def _compare(parsed: argparse.Namespace) -> int:
    return compare(parsed, os.environ, print, _progress)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    add_bench_options(parser)
    parser.set_defaults(run=_bench)


def _bench(parsed: argparse.Namespace) -> int:
    return bench(parsed, os.environ, print, _progress)


def _add_overhead(parser: argparse.ArgumentParser) -> None:
    add_overhead_options(parser)
    parser.set_defaults(run=_overhead)


def _overhead(parsed: argparse.Namespace) -> int:
    return overhead(parsed, os.environ, print, _progress)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    add_cache_options(parser)
    parser.set_defaults(run=_cache)


def _cache(parsed: argparse.Namespace) -> int:
    return cache(parsed, os.environ, print, _progress)


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


def _add_faults(parser: argparse.ArgumentParser) -> None:
    add_faults_options(parser)
    parser.set_defaults(run=_faults)


def _faults(parsed: argparse.Namespace) -> int:
    # A polite end stops the services too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return faults(parsed, os.environ, print, _progress)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())

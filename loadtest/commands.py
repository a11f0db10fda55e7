"""The commands that start servers, or attack running ones, and report: as `python -m loadtest` shows them."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping

from .benchmarks.bench_command import add_bench_options, bench
from .benchmarks.cache_command import add_cache_options, cache
from .benchmarks.overhead_command import add_overhead_options, overhead
from .capacity.command import add_capacity_options, capacity
from .compare.command import add_compare_options, compare
from .errors import Exit
from .faults.command import add_faults_options, faults
from .monitoring.drill import add_drill_options, drill
from .monitoring.observe import add_observe_options, observe
from .observed.cost import add_observability_options, observability
from .observed.counts import add_counts_options, counts
from .observed.scrape import add_scrape_options, scrape
from .promises.lifecycle import add_lifecycle_options, lifecycle
from .promises.mixed import add_mixed_options, mixed
from .promises.overload import add_overload_options, overload
from .promises.scan import add_scan_options, scan
from .promises.soak import add_soak_options, soak

Command = Callable[[argparse.Namespace, Mapping[str, str], Callable[[str], object], Callable[[str], object]], Exit]

_COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None], Command]] = {
    "capacity": ("the highest rate that holds the objective", add_capacity_options, capacity),
    "compare": ("servers side by side under open-loop load", add_compare_options, compare),
    "bench": ("compare servers side by side", add_bench_options, bench),
    "overhead": ("what does the service add to ONNX Runtime?", add_overhead_options, overhead),
    "cache": ("what do the caches bring, and do they change a score?", add_cache_options, cache),
    "faults": ("what does the service do when things go wrong?", add_faults_options, faults),
    "overload": (
        "deadlines, goodput, rejections and probes at 2 and 10 times the rated load",
        add_overload_options,
        overload,
    ),
    "counts": ("do the counters in /metrics equal what the load generator saw?", add_counts_options, counts),
    "scrape": ("what does a scrape of /metrics cost?", add_scrape_options, scrape),
    "observability": (
        "what do metrics, logs and the like take from pairs/s, on against off?",
        add_observability_options,
        observability,
    ),
    "mixed": ("small calls beside large ones: how much slower do they get?", add_mixed_options, mixed),
    "soak": (
        "do memory, open files and threads stay flat over many requests of random shapes?",
        add_soak_options,
        soak,
    ),
    "scan": ("does memory stay bounded over a million distinct products?", add_scan_options, scan),
    "lifecycle": ("starts, stops under load, swaps under load", add_lifecycle_options, lifecycle),
    "observe": ("does a real Prometheus see what it should, and alert when it should?", add_observe_options, observe),
    "drill": ("breaks what each alert is for, and tries its runbook", add_drill_options, drill),
}
COMMANDS = tuple(_COMMANDS)


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds every command."""
    for name, (summary, add_options, command) in _COMMANDS.items():
        parser = commands.add_parser(name, help=summary, description=summary)
        add_options(parser)
        parser.set_defaults(run=_runner(command))


def _runner(command: Command) -> Callable[[argparse.Namespace], Exit]:
    def run(parsed: argparse.Namespace) -> Exit:
        heed_sigterm()
        return command(parsed, os.environ, _say_out, say_err)

    return run


def heed_sigterm() -> None:
    """A polite end stops the servers too, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _say_out(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_err(text: str) -> None:
    """Progress: a line on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()

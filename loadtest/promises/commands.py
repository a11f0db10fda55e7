"""The commands of this package, as `python -m loadtest` shows them."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping

from ..errors import Exit
from .lifecycle import add_lifecycle_options, lifecycle
from .mixed import add_mixed_options, mixed
from .overload import add_overload_options, overload
from .scan import add_scan_options, scan
from .soak import add_soak_options, soak

Command = Callable[[argparse.Namespace, Mapping[str, str], Callable[[str], object], Callable[[str], object]], Exit]

_COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None], Command]] = {
    "overload": (
        "deadlines, goodput, rejections and probes at 2 and 10 times the rated load",
        add_overload_options,
        overload,
    ),
    "mixed": ("small calls beside large ones: how much slower do they get?", add_mixed_options, mixed),
    "soak": (
        "do memory, open files and threads stay flat over many requests of random shapes?",
        add_soak_options,
        soak,
    ),
    "scan": ("does memory stay bounded over a million distinct products?", add_scan_options, scan),
    "lifecycle": ("starts, stops under load, swaps under load", add_lifecycle_options, lifecycle),
}
PROMISES = tuple(_COMMANDS)


def add_promises(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds every command."""
    for name, (summary, add_options, command) in _COMMANDS.items():
        parser = commands.add_parser(name, help=summary, description=summary)
        add_options(parser)
        parser.set_defaults(run=_runner(command))


def _runner(command: Command) -> Callable[[argparse.Namespace], Exit]:
    def run(parsed: argparse.Namespace) -> Exit:
        # A polite end stops the servers too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return command(parsed, os.environ, _say_out, _say_err)

    return run


def _say_out(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _say_err(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()

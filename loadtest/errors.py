"""What ends a command early, and the exit codes of all commands.

LoadtestError            one line for the user; the command ends with UNUSABLE
    TrafficError         a traffic file or CSV that cannot be used: names file, line and field
    ServerError          the server is not there, not ready, or does not speak the contract
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    HELD = 0
    BROKEN = 1
    """The objective, or a gate on a ratio, does not hold."""
    UNUSABLE = 2
    """Nothing was measured: bad usage, bad input, no server."""
    INVALID = 3
    """Something was measured that answers nothing: the generator missed its own schedule, a gate had no peer."""
    CONTESTANT_FAILED = 4
    """A contestant of the benchmark did not start, died or answered wrongly."""
    INTERRUPTED = 130


class LoadtestError(Exception):
    """A command that cannot go on, in one line."""


class TrafficError(LoadtestError):
    """Unusable traffic or data."""


class ServerError(LoadtestError):
    """A server that cannot be measured."""

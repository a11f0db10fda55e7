"""The options of an `slo` run, told to argparse (`python -m loadtest slo`) and to Locust (`locust -f`) alike."""

import argparse
import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from .errors import LoadtestError
from .measure import Objective

_HEADER = re.compile(r" *[A-Za-z0-9!#$%&'*+.^_`|~-]+ *:[ -~]*")


def _option(flag: str, kind: type, default: Any, text: str, metavar: str | None = None) -> Any:
    return field(default=default, metadata={"flag": flag, "type": kind, "help": text, "metavar": metavar})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to send, how fast, for how long, and what must hold."""

    rate: float = _option("--rate", float, 10.0, "arrivals a second")
    duration_s: float = _option("--duration", float, 30.0, "counted time, seconds", "S")
    warmup_s: float = _option("--warmup", float, 3.0, "time at the same rate before, not counted, seconds", "S")
    p99_ms: float = _option("--p99-ms", float, 50.0, "objective: p99 of accepted requests, from the scheduled time")
    max_error_rate: float = _option("--max-error-rate", float, 0.01, "objective: share of requests not accepted")
    max_lag_ms: float | None = _option(
        "--max-lag-ms", float, None, "the run is invalid if 1 %% were sent later than this (default: p99-ms / 5)"
    )
    traffic: str = _option("--traffic", str, "", "JSONL, one request body a line; synthetic without it", "FILE")
    products: int = _option("--products", int, 64, "products a request of synthetic traffic")
    requests: int = _option("--requests", int, 200, "distinct requests of synthetic traffic")
    seed: int = _option("--seed", int, 1, "of arrivals, order and synthetic traffic")
    deadline_ms: float = _option("--deadline-ms", float, 0.0, "sent as x-request-timeout-ms; 0: not sent")
    header: tuple[str, ...] = _option("--header", str, (), "sent with each request; may be repeated", "'NAME: VALUE'")
    request_timeout_s: float = _option("--request-timeout", float, 10.0, "an answer later than this is failed", "S")
    max_in_flight: int = _option("--max-in-flight", int, 1000, "arrivals above this are not sent, and failed")
    max_requests: int = _option("--max-requests", int, 100_000, "bound of the schedule, warm-up included")
    result: str = _option("--result", str, "", "write options, summary, verdict and raw samples as JSON", "FILE")

    def __post_init__(self) -> None:
        above_zero = {"rate", "duration_s", "p99_ms", "products", "requests", "request_timeout_s"}
        above_zero |= {"max_in_flight", "max_requests"}
        for option in fields(self):
            value = getattr(self, option.name)
            flag = option.metadata["flag"]
            if isinstance(value, float) and not math.isfinite(value):
                raise LoadtestError(f"{flag}: expected a finite number, found {value}")
            if option.name in above_zero and value <= 0:
                raise LoadtestError(f"{flag}: expected more than 0, found {value}")
            if isinstance(value, float) and value < 0:
                raise LoadtestError(f"{flag}: expected 0 or more, found {value}")
        for header in self.header:
            if not _HEADER.fullmatch(header):
                raise LoadtestError(f"--header: expected 'NAME: VALUE' in plain ASCII, found {header!r}")
        if self.deadline_ms != int(self.deadline_ms):
            raise LoadtestError(f"--deadline-ms: expected whole milliseconds, found {self.deadline_ms:g}")

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> Self:
        """The options in what argparse or Locust parsed."""
        values = {option.name: getattr(parsed, option.name) for option in fields(cls)}
        return cls(**{**values, "header": tuple(values["header"] or ())})

    def argv(self) -> list[str]:
        """The command line that gives these options."""
        argv: list[str] = []
        for option in fields(self):
            value = getattr(self, option.name)
            if value is None:
                continue
            values = value if isinstance(value, tuple) else (value,)
            argv.extend(f"{option.metadata['flag']}={one}" for one in values)
        return argv

    @property
    def objective(self) -> Objective:
        """What must hold."""
        max_lag_ms = self.p99_ms / 5 if self.max_lag_ms is None else self.max_lag_ms
        return Objective(self.p99_ms, self.max_error_rate, max_lag_ms)

    @property
    def traffic_path(self) -> Path | None:
        """None for synthetic traffic."""
        return Path(self.traffic) if self.traffic else None

    @property
    def headers(self) -> dict[str, str]:
        """What each request carries beside the content type."""
        headers = {}
        for header in self.header:
            name, _, value = header.partition(":")
            headers[name.strip().lower()] = value.strip()
        if self.deadline_ms:
            headers["x-request-timeout-ms"] = str(int(self.deadline_ms))
        return headers


def add_run_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds every option of RunOptions to a parser; Locust's parser is an ArgumentParser too."""
    for option in fields(RunOptions):
        about = option.metadata
        if isinstance(option.default, tuple):
            parser.add_argument(
                about["flag"], dest=option.name, action="append", metavar=about["metavar"], help=about["help"]
            )
            continue
        shown = "" if option.default in ("", None) else f" (default {option.default:g})"
        parser.add_argument(
            about["flag"],
            dest=option.name,
            type=about["type"],
            default=option.default,
            metavar=about["metavar"],
            help=about["help"] + shown,
        )

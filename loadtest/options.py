"""The options of an `slo` run, told to argparse (`python -m loadtest slo`) and to Locust (`locust -f`) alike."""

import argparse
import math
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from .errors import LoadtestError
from .generator.arrivals import Burst
from .measure import Objective
from .traffic.sizes import parse_sizes
from .traffic.source import CATALOGUE_HELP, REPEAT_HELP, ZIPF_HELP, Source

ARRIVALS = ("poisson", "burst", "trace")
_HEADER = re.compile(r" *[A-Za-z0-9!#$%&'*+.^_`|~-]+ *:[ -~]*")
_LAG_MS = 10.0
_SHARES = {"max_error_rate", "max_shed_rate", "max_late_rate", "max_failed_rate", "max_past_deadline"}


def _option(flag: str, kind: type, default: Any, text: str, metavar: str | None = None, **more: Any) -> Any:
    return field(default=default, metadata={"flag": flag, "type": kind, "help": text, "metavar": metavar, **more})


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to send, how fast, for how long, and what must hold."""

    rate: float = _option("--rate", float, 10.0, "arrivals a second")
    duration_s: float = _option("--duration", float, 30.0, "counted time, seconds", "S")
    warmup_s: float = _option("--warmup", float, 3.0, "time at the same rate before, not counted, seconds", "S")
    arrivals: str = _option("--arrivals", str, "poisson", "when they come: poisson, burst or trace", choices=ARRIVALS)
    burst_factor: float = _option("--burst-factor", float, 4.0, "with burst: times the rate between bursts")
    burst_period_s: float = _option("--burst-period", float, 10.0, "with burst: from one to the next, seconds", "S")
    burst_share: float = _option("--burst-share", float, 0.2, "with burst: of each period that is one")
    trace: str = _option("--trace", str, "", "with trace: JSONL of arrivals, played instead of --rate", "FILE")
    trace_speed: float = _option("--trace-speed", float, 1.0, "with trace: 2 plays it in half its time")
    p99_ms: float = _option(
        "--p99-ms", float, 50.0, "objective: p99 of accepted requests, from the scheduled time; 0: not judged"
    )
    p50_ms: float = _option("--p50-ms", float, 0.0, "objective: their median; 0: not judged")
    max_error_rate: float = _option("--max-error-rate", float, 0.01, "objective: share of requests not accepted")
    max_shed_rate: float | None = _option("--max-shed-rate", float, None, "objective: share that is shed", "SHARE")
    max_late_rate: float | None = _option("--max-late-rate", float, None, "objective: share that is late", "SHARE")
    max_failed_rate: float | None = _option("--max-failed-rate", float, None, "objective: share that fails", "SHARE")
    deadline_ms: float = _option("--deadline-ms", float, 0.0, "sent as x-request-timeout-ms; 0: not sent")
    deadline_slack_ms: float = _option(
        "--deadline-slack-ms", float, 50.0, "how much later than its request's deadline an answer may come"
    )
    max_past_deadline: float = _option(
        "--max-past-deadline", float, 0.0, "objective: share of requests whose answer comes later than that", "SHARE"
    )
    max_lag_ms: float | None = _option(
        "--max-lag-ms",
        float,
        None,
        f"the run is invalid if 1 %% were sent later than this (default: p99-ms / 5, or {_LAG_MS:g} where that is 0)",
    )
    traffic: str = _option("--traffic", str, "", "JSONL, one request body a line; synthetic without it", "FILE")
    catalogue: str = _option("--catalogue", str, "", CATALOGUE_HELP, "FILE")
    zipf: float | None = _option("--zipf", float, None, ZIPF_HELP, "EXPONENT")
    repeat_share: float = _option("--repeat-share", float, 0.0, REPEAT_HELP, "SHARE")
    products: str = _option(
        "--products",
        str,
        "64",
        "products a request of synthetic and drawn traffic: 64, 10-500, 1:0.7,64:0.2,500:0.1 or lognormal:64:400 "
        "(median and p99)",
    )
    distinct: int = _option("--distinct", int, 200, "distinct requests of synthetic traffic", alias="--requests")
    seed: int = _option("--seed", int, 1, "of arrivals, order, synthetic and drawn traffic")
    header: tuple[str, ...] = _option("--header", str, (), "sent with each request; may be repeated", "'NAME: VALUE'")
    request_timeout_s: float = _option("--request-timeout", float, 10.0, "an answer later than this is failed", "S")
    max_in_flight: int = _option("--max-in-flight", int, 1000, "arrivals above this are not sent, and failed")
    max_requests: int = _option("--max-requests", int, 100_000, "bound of the schedule, warm-up included")
    pid: int = _option("--pid", int, 0, "the server's process, to read its CPU time and memory; 0: not read")
    result: str = _option("--result", str, "", "write options, summary, verdict and raw samples as JSON", "FILE")
    page: str = _option("--page", str, "", "write one HTML page with pictures, readable offline", "FILE")

    def __post_init__(self) -> None:
        above_zero = {"rate", "duration_s", "distinct", "request_timeout_s", "trace_speed"}
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
            if option.name in _SHARES and value is not None and value > 1:
                # A budget above 1 would let everything pass: whoever gives 5 means 5 %.
                raise LoadtestError(f"{flag}: expected a share from 0 to 1, found {value:g}")
            choices = option.metadata.get("choices")
            if choices and value not in choices:
                raise LoadtestError(f"{flag}: expected {', '.join(choices)}, found {value!r}")
        for header in self.header:
            if not _HEADER.fullmatch(header):
                raise LoadtestError(f"--header: expected 'NAME: VALUE' in plain ASCII, found {header!r}")
        if self.deadline_ms != int(self.deadline_ms):
            raise LoadtestError(f"--deadline-ms: expected whole milliseconds, found {self.deadline_ms:g}")
        if bool(self.trace) != (self.arrivals == "trace"):
            raise LoadtestError("expected --arrivals trace and --trace FILE together, found one of them")
        # Both check what they hold.
        Burst(self.rate, self.burst_factor, self.burst_period_s, self.burst_share)
        _ = self.source

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
        max_lag_ms = (self.p99_ms / 5 or _LAG_MS) if self.max_lag_ms is None else self.max_lag_ms
        return Objective(
            p99_ms=self.p99_ms or None,
            max_error_rate=self.max_error_rate,
            max_lag_ms=max_lag_ms,
            p50_ms=self.p50_ms or None,
            max_shed_rate=self.max_shed_rate,
            max_late_rate=self.max_late_rate,
            max_failed_rate=self.max_failed_rate,
            deadline_slack_ms=self.deadline_slack_ms,
            max_past_deadline=self.max_past_deadline,
        )

    @property
    def source(self) -> Source:
        """Where requests come from."""
        return Source(
            traffic=Path(self.traffic) if self.traffic else None,
            catalogue=Path(self.catalogue) if self.catalogue else None,
            zipf=self.zipf,
            repeat_share=self.repeat_share,
            distinct=self.distinct,
            sizes=parse_sizes(self.products),
            seed=self.seed,
        )

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
        flags = (about["flag"], about["alias"]) if "alias" in about else (about["flag"],)
        parser.add_argument(
            *flags,
            dest=option.name,
            type=about["type"],
            default=option.default,
            metavar=about["metavar"],
            choices=about.get("choices"),
            help=about["help"] + _shown(option.default),
        )


def _shown(default: Any) -> str:
    if default in ("", None):
        return ""
    return f" (default {default})" if isinstance(default, str) else f" (default {default:g})"

"""`observability`: what does all that the service tells of itself take from what it scores?

Two of our services in turns: one with everything on and scraped, one with everything off, which counts nothing. Two
processes that do the same differ by a percent or so from their start on (where their memory lies, where their threads
run), so both are started several times, and each start is one observation.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from http.client import HTTPException
from pathlib import Path

from ..benchmarks.closed_loop import ask_all
from ..benchmarks.contestants import Contestant, shelfscore
from ..benchmarks.hosting import Hosted, add_server_options, hosted_as_asked
from ..benchmarks.lean import LeanConnection
from ..client import Connection, Endpoint
from ..errors import Exit, LoadtestError
from ..metering import Ticker
from ..promises.verdict import Findings, machine_line
from ..traffic.requests import make_request, read_traffic
from ..traffic.synthetic import synthetic_requests

ON, OFF = "on", "off"
_SILENCED = Path(__file__).parents[1] / "peers" / "silenced.py"
_COUNTING = (
    *("prometheus_client.metrics:Counter.inc", "prometheus_client.metrics:Gauge.inc"),
    *("prometheus_client.metrics:Gauge.dec", "service.histogram:Series.observe", "service.metrics:Metrics.score_ended"),
    "service.tally:Tally.add",
)
_ON = ("LOG_FORMAT=json", "LOG_LEVEL=info")
_OFF = ("LOG_LEVEL=error",)
_PRODUCTS = 64
_STUDENT_95 = (
    *(12.71, 4.31, 3.19, 2.78, 2.58, 2.45, 2.37, 2.31, 2.27),
    *(2.23, 2.21, 2.18, 2.17, 2.15, 2.14, 2.12, 2.11, 2.11),
)
"""Student's t at 97.5 % by degrees of freedom from 1 on, rounded up. The last one stands for all that follow."""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of each."""

    pairs_per_s: Mapping[str, float]
    cpu_ms: Mapping[str, float]
    """Of the server, a request."""

    def loss(self) -> float:
        """The share of pairs a second that being observed takes."""
        return 1.0 - self.pairs_per_s[ON] / self.pairs_per_s[OFF]

    def cpu_share(self) -> float:
        """The share of CPU time that being observed adds."""
        return self.cpu_ms[ON] / self.cpu_ms[OFF] - 1.0


def add_observability_options(parser: argparse.ArgumentParser) -> None:
    """Adds them."""
    who = parser.add_argument_group("the two services")
    who.add_argument(
        "--artifact", type=Path, default=Path("models/default"), metavar="FOLDER", help="default %(default)s"
    )
    for name, defaults in ((ON, _ON), (OFF, _OFF)):
        who.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help=f"a setting of the service that has everything {name}, beside {', '.join(defaults)}; may be repeated",
        )
    who.add_argument("--count-both", action="store_true", help="have the other count too, and leave the rest off")
    much = parser.add_argument_group("how much")
    much.add_argument("--starts", type=int, default=10, help="of both services (default %(default)s)")
    much.add_argument("--rounds", type=int, default=20, help="a start (default %(default)s)")
    much.add_argument("--requests", type=int, default=60, help="a turn (default %(default)s)")
    much.add_argument("--in-flight", type=int, default=4, help="requests at a time (default %(default)s)")
    much.add_argument("--distinct", type=int, default=60, help="requests, again and again (default %(default)s)")
    much.add_argument("--traffic", type=Path, metavar="FILE", help="JSONL, one request body a line; synthetic without")
    much.add_argument("--scrape-s", type=float, default=1.0, help="between two scrapes (default %(default)s)")
    add_server_options(much)
    must = parser.add_argument_group("what must hold")
    must.add_argument("--max-loss", type=float, default=0.02, help="share of pairs/s, mean (default %(default)s)")
    must.add_argument("--json", type=Path, metavar="FILE", help="every round")


def observability(
    parsed: argparse.Namespace,
    environment: Mapping[str, str],
    print_out: Callable[[str], object],
    say: Callable[[str], object],
) -> Exit:
    """Runs it.

    Raises:
        LoadtestError: nothing could be measured.
    """
    for name in ("starts", "rounds", "requests", "in_flight", "distinct", "scrape_s"):
        if not 0 < getattr(parsed, name) <= 100_000:
            raise LoadtestError(f"--{name.replace('_', '-')}: expected 1 to 100000, found {getattr(parsed, name)}")
    on = _with(shelfscore(ON, parsed.artifact, environment), (*_ON, *parsed.on))
    off = _with(shelfscore(OFF, parsed.artifact, environment), (*_OFF, *parsed.off))
    if not parsed.count_both:
        off = replace(off, argv=(off.argv[0], str(_SILENCED), ",".join(_COUNTING), *off.argv[1:]))
    bodies, products = _bodies(parsed)
    starts: list[list[Round]] = []
    interrupted = False
    try:
        for number in range(parsed.starts):
            # Who is started first, and begins, alternates.
            services = (on, off) if number % 2 == 0 else (off, on)
            with hosted_as_asked(parsed, services) as servers:
                starts.append(_take_turns(parsed, servers, bodies, products))
            say(f"start {number + 1} of {parsed.starts}: {_loss(starts[-1]):+.2%} of pairs/s lost")
    except KeyboardInterrupt:
        interrupted = True
    findings = Findings("observability", _conditions(parsed, on, off), interrupted=interrupted)
    judge_starts(findings, starts, parsed.max_loss)
    print_out(findings.as_text())
    findings.write(parsed.json)
    return findings.exit


def judge_starts(findings: Findings, starts: Sequence[Sequence[Round]], max_loss: float) -> None:
    """By the mean over starts of each one's median round. A mean that is not known to `max_loss` answers nothing.

    Args:
        findings: get the verdict.
        starts: of both services, the rounds of each.
        max_loss: share of pairs/s.
    """
    findings.raw["starts"] = [[asdict(each) for each in rounds] for rounds in starts]
    if len(starts) < 2:
        findings.invalid.append("expected two starts or more")
        return
    losses = [_loss(rounds) for rounds in starts]
    if _half_width(losses) > max_loss:
        findings.invalid.append(
            f"the mean loss is known to {_half_width(losses):.1%} only: a quieter machine, or more --starts"
        )
    mean = statistics.fmean(losses)
    findings.judge("share of pairs/s lost", _spread(losses), f"at most {max_loss:.1%}", mean <= max_loss)
    shares = [statistics.median(each.cpu_share() for each in rounds) for rounds in starts]
    findings.note("share of CPU time added", _spread(shares))
    rounds = [each for rounds in starts for each in rounds]
    for name in (ON, OFF):
        rates = [each.pairs_per_s[name] for each in rounds]
        cpu_ms = statistics.median(each.cpu_ms[name] for each in rounds)
        shown = f"{statistics.median(rates):,.0f} ({min(rates):,.0f} - {max(rates):,.0f})"
        findings.note(f"{name}: pairs/s, CPU a request", f"{shown}, {cpu_ms:.2f} ms")


def _loss(rounds: Sequence[Round]) -> float:
    return statistics.median(each.loss() for each in rounds)


def _half_width(values: Sequence[float]) -> float:
    """Of the mean's 95 % interval, by Student's t."""
    t = _STUDENT_95[min(len(values) - 1, len(_STUDENT_95)) - 1]
    return t * statistics.stdev(values) / math.sqrt(len(values))


def _spread(values: Sequence[float]) -> str:
    half, mean = _half_width(values), statistics.fmean(values)
    least_to_most = f"{min(values):+.2%} to {max(values):+.2%}"
    return f"mean {mean:+.2%} [{mean - half:+.2%}, {mean + half:+.2%}], starts {least_to_most}"


def _take_turns(
    parsed: argparse.Namespace, servers: Sequence[Hosted], bodies: Sequence[bytes], products: int
) -> list[Round]:
    """The rounds of one start."""
    rounds = []
    with ExitStack() as stack:
        callers = {each.name: _connections(each, parsed, stack) for each in servers}
        for server in servers:
            ask_all(callers[server.name], "/score", bodies)
        scrapes = {each.name: _scraper(each, stack) for each in servers}
        # As often each, whatever the bodies are.
        turn = [bodies[number % len(bodies)] for number in range(parsed.requests)]
        for number in range(parsed.rounds):
            pairs_per_s, cpu_ms = {}, {}
            for server in servers if number % 2 == 0 else reversed(servers):
                with ExitStack() as turn_stack:
                    if server.name == ON:
                        turn_stack.enter_context(Ticker(parsed.scrape_s, scrapes[ON]))
                    before_s = server.cpu_s()
                    asked = ask_all(callers[server.name], "/score", turn)
                    cpu_ms[server.name] = (server.cpu_s() - before_s) / len(turn) * 1e3
                pairs_per_s[server.name] = products * len(turn) / asked.wall_s
            rounds.append(Round(pairs_per_s, cpu_ms))
    return rounds


def _connections(server: Hosted, parsed: argparse.Namespace, stack: ExitStack) -> list[Connection]:
    endpoint = Endpoint.parse(server.server.url)
    made: list[Connection] = [LeanConnection(endpoint, parsed.request_timeout) for _ in range(parsed.in_flight)]
    for connection in made:
        stack.callback(connection.close)
    return made


def _scraper(server: Hosted, stack: ExitStack) -> Callable[[float], None]:
    connection = Connection(Endpoint.parse(server.server.url), 5.0)
    stack.callback(connection.close)

    def scrape(_: float) -> None:
        try:
            connection.request("GET", "/metrics")
        except (OSError, HTTPException):
            connection.close()

    return scrape


def _with(contestant: Contestant, settings: Sequence[str]) -> Contestant:
    given = dict(_split(each) for each in settings)
    named = {f"SHELFSCORE_{name}": value for name, value in given.items()}
    return replace(contestant, environment={**contestant.environment, **named}, settings=given)


def _split(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not (name and equals):
        raise LoadtestError(f"--on, --off: expected NAME=VALUE, found {setting!r}")
    return name.upper(), value


def _bodies(parsed: argparse.Namespace) -> tuple[list[bytes], int]:
    """Distinct bodies, and how many products each has on average, of a turn's requests."""
    if parsed.traffic is None:
        made = [make_request(*each) for each in synthetic_requests(parsed.distinct, _PRODUCTS, 1)]
    else:
        made = list(read_traffic(parsed.traffic)[: parsed.distinct])
    sizes = {len(request.products) for request in made}
    if len(sizes) != 1:
        raise LoadtestError(f"--traffic: expected requests of one number of products, found {sorted(sizes)[:5]}")
    return [request.body for request in made], sizes.pop()


def _conditions(parsed: argparse.Namespace, on: Contestant, off: Contestant) -> list[str]:
    shown = {each.name: ", ".join(f"{name}={value}" for name, value in each.settings.items()) for each in (on, off)}
    counting = "counting too" if parsed.count_both else "counting nothing"
    return [
        f"{ON}: {shown[ON]}, scraped every {parsed.scrape_s:g} s of its turns",
        f"{OFF}: {shown[OFF]}, {counting}",
        f"{parsed.starts} starts of {parsed.rounds} rounds of {parsed.requests} requests each, {parsed.in_flight} in "
        f"flight, of {parsed.distinct} distinct ones that were all played before; who begins alternates",
        machine_line(),
    ]

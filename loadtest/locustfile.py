"""Replays traffic against POST /score with open-loop arrivals, under Locust.

    locust -f loadtest/locustfile.py --headless --host http://127.0.0.1:8080 --rate 10 --duration 30 --p99-ms 50

Locust runs the process, its options, its page and its exit; one user holds the whole schedule and sends each request
when it is due, in a greenlet of its own, whether or not earlier ones were answered. Locust's own statistics are fed
latencies from the scheduled time, but it rounds them: trust the report printed at the end.

Importing this module imports Locust, which patches the process for gevent: import it nowhere else.
"""

import json
import sys
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
from gevent.pool import Group  # type: ignore[import-untyped]
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import LocalRunner

from loadtest.client import JSON_HEADERS, ConnectionPool, Endpoint, Reply, check_ready
from loadtest.errors import Exit, LoadtestError
from loadtest.generator.schedule import Arrival, poisson_schedule
from loadtest.measure import Outcome, Sample
from loadtest.options import RunOptions, add_run_options
from loadtest.report import Run, as_json, as_text, summarise_run, write_json
from loadtest.traffic.requests import ScoreRequest, load_traffic

PATH = "/score"


class Replay:
    """One run: the schedule, what came of it so far, and the report."""

    def __init__(self, options: RunOptions, environment: Environment) -> None:
        self._options = options
        self._environment = environment
        self._host = (environment.host or "http://127.0.0.1:8080").rstrip("/")
        self._headers = {**JSON_HEADERS, **options.headers}
        self._traffic = load_traffic(
            options.traffic_path, requests=options.requests, products=options.products, seed=options.seed
        )
        self._schedule = poisson_schedule(
            rate=options.rate,
            warmup_s=options.warmup_s,
            duration_s=options.duration_s,
            requests=len(self._traffic.requests),
            max_arrivals=options.max_requests,
            seed=options.seed,
        )
        self._pool = ConnectionPool(Endpoint.parse(self._host), options.request_timeout_s)
        self._samples: list[Sample] = []
        self._counted_in_flight = 0
        self._start = 0.0
        self._start_cpu = 0.0
        self._state = "ready"
        check_ready(self._host)

    def play(self) -> None:
        """Sends every request when it is due and waits for the last answers, at most the request timeout."""
        self._state = "playing"
        self._start_cpu = time.process_time()
        self._start = time.perf_counter()
        sending: Group = Group()
        for arrival in self._schedule:
            while (wait_s := arrival.due_s - self._now()) > 0:
                gevent.sleep(wait_s)
            if len(sending) >= self._options.max_in_flight:
                refused = f"not sent: {self._options.max_in_flight} requests in flight unanswered"
                self._record(arrival, self._now(), Outcome.FAILED, None, refused)
            else:
                sending.spawn(self._send, arrival)
        sending.join()
        self._state = "played"

    def finish(self) -> Exit:
        """Prints and writes the report of what was measured."""
        run = Run(
            host=self._host,
            options=self._options,
            traffic=self._traffic.source,
            planned=sum(arrival.counted for arrival in self._schedule),
            samples=list(self._samples),
            unfinished=self._counted_in_flight,
            elapsed_s=self._now() if self._start else 0.0,
            generator_cpu_s=time.process_time() - self._start_cpu,
            interrupted=self._state != "played",
        )
        self._state = "finished"
        self._pool.close()
        summary, verdict = summarise_run(run)
        sys.stdout.write(as_text(run, summary, verdict))
        sys.stdout.flush()
        if self._options.result:
            try:
                write_json(Path(self._options.result), as_json(run, summary, verdict))
            except LoadtestError as error:
                sys.stderr.write(f"{error}\n")
                return Exit.UNUSABLE if verdict.exit is Exit.HELD else verdict.exit
        return verdict.exit

    @property
    def finished(self) -> bool:
        """Whether the report was given."""
        return self._state == "finished"

    def _now(self) -> float:
        return time.perf_counter() - self._start

    def _send(self, arrival: Arrival) -> None:
        request = self._traffic.requests[arrival.request]
        sent_s = self._now()
        self._counted_in_flight += arrival.counted
        timeout = gevent.Timeout(self._options.request_timeout_s)
        try:
            with timeout:
                reply = self._pool.post(PATH, request.body, self._headers)
        except gevent.Timeout:
            reason = f"no answer within {self._options.request_timeout_s:g} s"
            self._record(arrival, sent_s, Outcome.FAILED, None, reason)
        except (OSError, HTTPException) as error:
            self._record(arrival, sent_s, Outcome.FAILED, None, f"{type(error).__name__}: {error}")
        else:
            done_s = self._now()
            outcome, why = classify(request, reply)
            self._record(arrival, sent_s, outcome, reply.status, why, done_s, len(reply.body))
        finally:
            self._counted_in_flight -= arrival.counted

    def _record(
        self,
        arrival: Arrival,
        sent_s: float,
        outcome: Outcome,
        status: int | None,
        reason: str | None,
        done_s: float | None = None,
        length: int = 0,
    ) -> None:
        done_s = self._now() if done_s is None else done_s
        if not arrival.counted or self.finished:
            return
        sample = Sample(arrival.due_s, sent_s, done_s, outcome, status, reason)
        self._samples.append(sample)
        self._environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="POST",
            name=PATH,
            response_time=sample.latency_ms,
            response_length=length,
            exception=None if outcome is Outcome.ACCEPTED else LoadtestError(reason or outcome),
            context={},
        )


def classify(request: ScoreRequest, reply: Reply) -> tuple[Outcome, str | None]:
    """The outcome of an answer, and why where it is a failure."""
    if reply.status == 503:
        return Outcome.SHED, None
    if reply.status == 504:
        return Outcome.LATE, None
    if reply.status != 200:
        return Outcome.FAILED, f"status {reply.status}"
    try:
        contents = json.loads(reply.body)
        scores = contents["scores"]
        complete = contents.get("complete", True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Outcome.FAILED, "status 200 without scores"
    if not isinstance(scores, list) or len(scores) != len(request.products):
        return Outcome.FAILED, "status 200 with another number of scores than of products"
    return (Outcome.ACCEPTED if complete else Outcome.LATE), None


class OpenLoopUser(User):
    """Holds the whole schedule; one is enough, however many Locust is asked for."""

    fixed_count = 1
    replay: Replay

    @task
    def play(self) -> None:
        """Plays the schedule, then ends the test."""
        self.replay.play()
        runner = self.environment.runner
        options = self.environment.parsed_options
        if runner is not None:
            # The runner kills this greenlet: it must be told from another one.
            gevent.spawn(runner.quit if options is not None and options.headless else runner.stop)
        gevent.sleep(float("inf"))


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: LocustArgumentParser) -> None:
    add_run_options(parser.add_argument_group("open-loop replay"))


@events.init.add_listener  # type: ignore[untyped-decorator]
def _prepare(environment: Environment, **_: Any) -> None:
    if not isinstance(environment.runner, LocalRunner):
        _give_up(LoadtestError("one process holds the whole schedule: run without --master, --worker and --processes"))
    _new_replay(environment)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _start(environment: Environment, **_: Any) -> None:
    if OpenLoopUser.replay.finished:
        _new_replay(environment)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def _stop(environment: Environment, **_: Any) -> None:
    _finish(environment)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def _quit(environment: Environment, **_: Any) -> None:
    _finish(environment)


def _new_replay(environment: Environment) -> None:
    assert environment.parsed_options is not None
    try:
        OpenLoopUser.replay = Replay(RunOptions.of(environment.parsed_options), environment)
    except LoadtestError as error:
        _give_up(error)


def _finish(environment: Environment) -> None:
    if not OpenLoopUser.replay.finished:
        environment.process_exit_code = int(OpenLoopUser.replay.finish())


def _give_up(error: LoadtestError) -> None:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(int(Exit.UNUSABLE))

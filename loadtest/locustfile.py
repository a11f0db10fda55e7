"""Replays traffic against POST /score with open-loop arrivals, under Locust.

    locust -f loadtest/locustfile.py --headless --host http://127.0.0.1:8080 --rate 10 --duration 30 --p99-ms 50

Locust runs the process, its options, its page and its exit; one user holds the whole schedule and sends each request
when it is due, in a greenlet of its own, whether or not earlier ones were answered. Locust's own statistics are fed
latencies from the scheduled time, but it rounds them: trust the report printed at the end.

Importing this module imports Locust, which patches the process for gevent: import it nowhere else.
"""

import sys
import time
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
from gevent.pool import Group  # type: ignore[import-untyped]
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import LocalRunner

from loadtest.client import JSON_HEADERS, ConnectionPool, Endpoint, check_ready, deadline_of
from loadtest.errors import Exit, LoadtestError
from loadtest.generator.schedule import Arrival
from loadtest.judging import Judged, judge
from loadtest.measure import Outcome, Sample
from loadtest.metering import MeterProcess, Reading
from loadtest.options import RunOptions, add_run_options
from loadtest.pages import check_html_option, write_page
from loadtest.report import Run, as_json, as_text, summarise_run, write_json
from loadtest.run_plan import plan_run
from loadtest.slo_page import as_page
from loadtest.timing import Stages, told_stages, total_of
from loadtest.traffic.requests import ScoreRequest

PATH = "/score"


class Replay:
    """One run: the schedule, what came of it so far, and the report."""

    def __init__(self, options: RunOptions, environment: Environment) -> None:
        self._options = options
        self._environment = environment
        self._host = (environment.host or "http://127.0.0.1:8080").rstrip("/")
        self._headers = {**JSON_HEADERS, **options.headers}
        check_html_option(Path(options.page) if options.page else None)
        self._plan = plan_run(options)
        self._pool = ConnectionPool(Endpoint.parse(self._host), options.request_timeout_s)
        self._samples: list[Sample] = []
        self._counted_in_flight = 0
        self._start = 0.0
        self._start_cpu = 0.0
        self._state = "ready"
        check_ready(self._host)
        self._meter = MeterProcess(options.pid) if options.pid else None

    def play(self) -> None:
        """Sends every request when it is due and waits for the last answers, at most the request timeout."""
        self._state = "playing"
        self._start_cpu = time.process_time()
        self._start = time.monotonic()
        sending: Group = Group()
        for arrival in self._plan.schedule:
            request = self._plan.request(arrival.request)
            while (wait_s := arrival.due_s - self._now()) > 0:
                gevent.sleep(wait_s)
            if len(sending) >= self._options.max_in_flight:
                refused = f"not sent: {self._options.max_in_flight} requests in flight unanswered"
                self._record(arrival, request, self._now(), Judged(Outcome.FAILED, refused), sent=False)
            else:
                sending.spawn(self._send, arrival, request)
        sending.join()
        self._state = "played"

    def finish(self) -> Exit:
        """Prints and writes the report of what was measured."""
        run = Run(
            host=self._host,
            options=self._options,
            arrivals=self._plan.arrivals,
            traffic=self._plan.traffic,
            planned=self._plan.planned,
            counted_s=self._plan.counted_s,
            samples=list(self._samples),
            unfinished=self._counted_in_flight,
            elapsed_s=self._now() if self._start else 0.0,
            generator_cpu_s=time.process_time() - self._start_cpu,
            interrupted=self._state != "played",
            readings=self._readings(),
        )
        self._state = "finished"
        self._pool.close()
        summary, verdict = summarise_run(run)
        sys.stdout.write(as_text(run, summary, verdict))
        sys.stdout.flush()
        try:
            if self._options.result:
                write_json(Path(self._options.result), as_json(run, summary, verdict))
            if self._options.page:
                write_page(Path(self._options.page), as_page(run, summary, verdict))
        except LoadtestError as error:
            sys.stderr.write(f"{error}\n")
            return Exit.UNUSABLE if verdict.exit is Exit.HELD else verdict.exit
        return verdict.exit

    @property
    def finished(self) -> bool:
        """Whether the report was given."""
        return self._state == "finished"

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _readings(self) -> list[Reading]:
        """Of the server's process, in seconds of the run."""
        readings = self._meter.stop() if self._meter else []
        return [replace(reading, at_s=reading.at_s - self._start) for reading in readings if self._start]

    def _send(self, arrival: Arrival, request: ScoreRequest) -> None:
        sent_s = self._now()
        self._counted_in_flight += arrival.counted
        timeout = gevent.Timeout(self._options.request_timeout_s)
        try:
            with timeout:
                reply = self._pool.post(PATH, request.body, self._headers)
        except gevent.Timeout:
            reason = f"no answer within {self._options.request_timeout_s:g} s"
            self._record(arrival, request, sent_s, Judged(Outcome.FAILED, reason))
        except (OSError, HTTPException) as error:
            self._record(arrival, request, sent_s, Judged(Outcome.FAILED, f"{type(error).__name__}: {error}"))
        else:
            done_s = self._now()
            judged = judge(reply.status, reply.body, len(request.products), reply.model_version)
            self._record(
                arrival,
                request,
                sent_s,
                judged,
                done_s,
                status=reply.status,
                length=len(reply.body),
                stages=told_stages(reply.server_timing),
            )
        finally:
            self._counted_in_flight -= arrival.counted

    def _record(
        self,
        arrival: Arrival,
        request: ScoreRequest,
        sent_s: float,
        judged: Judged,
        done_s: float | None = None,
        *,
        status: int | None = None,
        length: int = 0,
        stages: Stages = (),
        sent: bool = True,
    ) -> None:
        done_s = self._now() if done_s is None else done_s
        if not arrival.counted or self.finished:
            return
        sample = Sample(
            due_s=arrival.due_s,
            sent_s=sent_s,
            done_s=done_s,
            outcome=judged.outcome,
            status=status,
            reason=judged.reason,
            server_ms=total_of(stages),
            stages_ms=stages,
            products=len(request.products),
            deadline_ms=deadline_of(self._headers, request.timeout_ms),
            sent=sent,
        )
        self._samples.append(sample)
        self._environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="POST",
            name=PATH,
            response_time=sample.latency_ms,
            response_length=length,
            exception=None if judged.outcome is Outcome.ACCEPTED else LoadtestError(judged.reason or judged.outcome),
            context={},
        )


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

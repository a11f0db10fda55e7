"""The load generator: sends each request when it is due, whether or not earlier ones were answered.

It shares the machine with the server, so it does little: requests are prepared bytes, connections are kept open, and
an interval timer wakes it within microseconds where an event loop's own timers round to milliseconds. It runs in a
process of its own (see generator), where it may use SIGALRM.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..judging import Judged
from ..measure import Outcome
from ..timing import told_stages, total_of
from .plan import OpenSample, Plan, Played
from .wire import Channel, WireAnswer, WireRequest

_SWEEP_S = 0.1
_SHORTEST_TIMER_S = 1e-5
_STOP_S = 1.0
_AFTER_FAILURE_S = 0.02
_HEAD_START_S = 0.05
IDLE_S = 30.0
"""A connection idle for longer is not used again: the server may be about to close it."""


@dataclass(slots=True)
class _Call:
    due_s: float
    sent_s: float
    number: int
    request: WireRequest
    channel: Channel | None = None
    timer: asyncio.TimerHandle | None = None


class Player:
    """Plays a plan on the running event loop.

    Args:
        plan: what to send.
        clock: monotonic, in seconds.
        on_progress: told now and then how many requests have ended.
        on_start: told when the plan's time begins, on that clock.
    """

    def __init__(
        self,
        plan: Plan,
        clock: Callable[[], float] = time.monotonic,
        on_progress: Callable[[int], None] = lambda _: None,
        on_start: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._on_progress = on_progress
        self._on_start = on_start
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, _Call] = {}
        self._by_channel: dict[Channel, _Call] = {}
        self._idle: list[Channel] = []
        self._open = 0
        self._opened = 0
        self._next = 0
        self._start = 0.0
        self._samples: list[OpenSample] = []
        self._abandoned = 0
        self._sending = True
        self._stopped = False
        self._finished = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()

    async def play(self) -> Played:
        """To its end."""
        cpu_before = time.process_time()
        self._start = self._clock() + _HEAD_START_S
        self._on_start(self._start)
        self._loop.add_signal_handler(signal.SIGALRM, self._send_due)
        sweeping = asyncio.create_task(self._sweep())
        if self._plan.arrivals:
            self._send_due()
        else:
            await asyncio.sleep(_HEAD_START_S)
            for _ in range(self._plan.in_flight):
                self._send_next()
        await self._finished.wait()
        sweeping.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)
        played = Played(
            start_s=self._start,
            samples=self._samples,
            elapsed_s=self._now(),
            cpu_s=time.process_time() - cpu_before,
            unfinished=len(self._calls),
            connections=self._opened,
            stopped=self._stopped,
            abandoned=self._abandoned,
        )
        for task in self._connecting:
            task.cancel()
        for channel in [*self._idle, *self._by_channel]:
            channel.abort()
        return played

    def stop(self) -> None:
        """Sends no more, and ends when all is answered, or soon."""
        self._stopped = True
        self._end_sending()
        self._loop.call_later(_STOP_S, self._finished.set)

    def _now(self) -> float:
        return self._clock() - self._start

    def _send_due(self) -> None:
        arrivals = self._plan.arrivals
        while self._sending:
            if self._next == len(arrivals):
                self._end_sending()
                return
            due_s, number = arrivals[self._next]
            wait_s = due_s - self._now()
            if wait_s > 0:
                signal.setitimer(signal.ITIMER_REAL, max(wait_s, _SHORTEST_TIMER_S))
                return
            self._next += 1
            self._send(due_s, number, self._plan.requests[number])

    def _send_next(self) -> None:
        plan, now_s = self._plan, self._now()
        if not self._sending:
            return
        if now_s >= plan.duration_s or self._next >= plan.count:
            self._end_sending()
            return
        number = self._next
        self._next += 1
        if plan.make is not None:
            self._send(self._now(), number, plan.make(number))
        else:
            which = number % len(plan.requests)
            self._send(now_s, which, plan.requests[which])

    def _end_sending(self) -> None:
        self._sending = False
        if not self._calls:
            self._finished.set()

    def _send(self, due_s: float, number: int, request: WireRequest) -> None:
        call = _Call(due_s, self._now(), number, request)
        self._calls[id(call)] = call
        while self._idle:
            channel = self._idle.pop()
            if channel.usable and call.sent_s - channel.idle_since_s < IDLE_S:
                self._send_on(channel, call)
                return
            channel.abort()
        if self._open >= self._plan.max_connections:
            refused = f"not sent: {self._open} connections are in use"
            self._end(call, Judged(Outcome.FAILED, refused), sent=False)
            return
        self._open += 1
        task = self._loop.create_task(self._connect(call))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, call: _Call) -> None:
        try:
            _, channel = await self._loop.create_connection(
                lambda: Channel(self._lost), self._plan.host, self._plan.port
            )
        except OSError as error:
            self._open -= 1
            self._end(call, Judged(Outcome.FAILED, f"no connection: {type(error).__name__}"))
            return
        self._opened += 1
        if id(call) in self._calls:
            self._send_on(channel, call)
        else:
            channel.abort()

    def _send_on(self, channel: Channel, call: _Call) -> None:
        call.channel = channel
        self._by_channel[channel] = call
        channel.send(call.request.data, lambda answer: self._answered(call, answer))
        if call.request.abandon_s is not None:
            call.timer = self._loop.call_later(call.request.abandon_s, self._abandon, call)

    def _answered(self, call: _Call, answer: WireAnswer) -> None:
        done_s = self._now()
        channel = call.channel
        assert channel is not None
        del self._by_channel[channel]
        channel.idle_since_s = done_s
        if channel.usable:
            self._idle.append(channel)
        self._end(call, self._plan.judge(answer, call.request.products), answer, done_s)

    def _lost(self, channel: Channel, reason: str) -> None:
        self._open -= 1
        call = self._by_channel.pop(channel, None)
        if call is not None:
            self._end(call, Judged(Outcome.FAILED, reason))

    def _abandon(self, call: _Call) -> None:
        if self._calls.pop(id(call), None) is not None:
            self._abandoned += 1
            self._drop_channel(call)
            self._after_end()

    def _drop_channel(self, call: _Call) -> None:
        if call.channel is not None:
            self._by_channel.pop(call.channel, None)
            call.channel.abort()

    def _end(
        self,
        call: _Call,
        judged: Judged,
        answer: WireAnswer | None = None,
        done_s: float | None = None,
        *,
        sent: bool = True,
    ) -> None:
        if self._calls.pop(id(call), None) is None:
            return
        if call.timer is not None:
            call.timer.cancel()
        stages = told_stages(answer.server_timing) if answer else ()
        self._samples.append(
            OpenSample(
                due_s=call.due_s,
                sent_s=call.sent_s,
                done_s=self._now() if done_s is None else done_s,
                outcome=judged.outcome,
                status=answer.status if answer else None,
                reason=judged.reason,
                server_ms=total_of(stages),
                stages_ms=stages,
                products=call.request.products,
                deadline_ms=call.request.deadline_ms,
                sent=sent,
                request=call.number,
                retry_after=answer.retry_after if answer else None,
                model_version=judged.model_version,
            )
        )
        self._after_end(failed=judged.outcome is Outcome.FAILED)

    def _after_end(self, *, failed: bool = False) -> None:
        if not self._plan.arrivals:
            # Through the loop: a call that fails at once must not recurse, nor be followed by thousands more.
            self._loop.call_later(_AFTER_FAILURE_S if failed else 0.0, self._send_next)
        if not self._sending and not self._calls:
            self._finished.set()

    async def _sweep(self) -> None:
        """Ends what is not answered in time; calls are in the order of their sending."""
        ended = 0
        while True:
            await asyncio.sleep(_SWEEP_S)
            ended, before = len(self._samples) + self._abandoned, ended
            if ended > before:
                self._on_progress(ended)
            oldest_s = self._now() - self._plan.timeout_s
            for call in list(self._calls.values()):
                if call.sent_s > oldest_s:
                    break
                self._drop_channel(call)
                self._end(call, Judged(Outcome.FAILED, f"no answer within {self._plan.timeout_s:g} s"))

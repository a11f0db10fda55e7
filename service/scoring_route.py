"""POST /score, from bytes to bytes."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from email.message import Message
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from artifact import Product

from .answer import Answer, answer
from .context import LET_IN_KEY, SCOPE_KEY, WHOLE_BODY_KEY, RequestInfo
from .deadline import deadline_at, header_timeouts_ms
from .door import USUAL_CONTENT_TYPES
from .early_refusal import EarlyRefusal, LetIn
from .errors import ClientGoneError, DeadlineExceededError, LateBodyError, OverloadedError, UnsupportedMediaError
from .job import Job
from .outcomes import DEADLINE_PASSED, NOT_FINITE, SCORED
from .registry import LoadedModel, Registry
from .runtime import Runtime
from .schemas import NullReason, ScoreRequest, most_values, parse_score_request, score_request_model
from .scorer import Scorer

log = logging.getLogger(__name__)

LOGIT_DECIMALS = 6
SCORE_DECIMALS = 8
MAX_CONTENT_TYPE_BYTES = 200

PUNCTUAL_S = 0.02
"""A deadline that is noticed so much later was missed by the event loop."""

STAGES = ("queue", "tokenize", "encode", "inference")


class ScoreEndpoint:
    """An ASGI app that answers scoring requests: each with one of the runtime's models, from first product to last.

    Args:
        runtime: whose models, metrics and clock it uses.
        due: when a request is due, by its arrival and its timeouts.

    Attributes:
        early: looks at requests before their bodies are parsed.
    """

    def __init__(self, runtime: Runtime, due: Callable[..., float] = deadline_at) -> None:
        self._runtime = runtime
        self._due = due
        self._metrics = runtime.metrics
        self._clock = runtime.clock
        self.early = EarlyRefusal(runtime.overload.backlog, runtime.clock, random.Random())
        self._max_timeout_ms = runtime.settings.max_timeout_ms
        self._log_texts = runtime.settings.log_texts
        self._stages = {stage: runtime.metrics.stage.labels(stage) for stage in STAGES}
        self.request_model = score_request_model(runtime.settings.max_products)
        self._max_values = most_values(runtime.settings.max_products)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        info: RequestInfo = scope[SCOPE_KEY]
        let_in: LetIn | None = scope.get(LET_IN_KEY)
        with self._runtime.request() as models:
            answered = await self._score(scope, receive, info, models, let_in)
        await answered.send(send)

    async def _score(
        self, scope: Scope, receive: Receive, info: RequestInfo, models: Registry, let_in: LetIn | None
    ) -> Answer:
        _check_content_type(scope)
        timeouts_ms: list[float] = [self._max_timeout_ms, *header_timeouts_ms(scope["headers"])]
        body = await self._read_body(scope, receive, self._due(info.arrival, *timeouts_ms))
        info.received = self._clock()
        anyway = let_in is not None and let_in.anyway
        if not anyway:
            anyway = self.early.check(len(body), self._due(info.arrival, *timeouts_ms))
        asked = parse_score_request(self.request_model, body, self._max_values)
        model = models.find(asked.model)
        known_ms = min(timeouts_ms)
        if asked.timeout_ms is not None:
            timeouts_ms.append(asked.timeout_ms)
        info.log_fields["products"] = len(asked.products)
        self._metrics.products.observe(len(asked.products))
        info.log_fields |= {"model": model.name, "version": model.version}
        if self._log_texts:
            info.log_fields["query"] = asked.query
        with model.use():
            try:
                job = await self._run(model.scorer, asked, self._due(info.arrival, *timeouts_ms), info, receive)
            except OverloadedError:
                self.early.refused(foreseeable=not anyway and min(timeouts_ms) == known_ms)
                raise
            self.early.ended(len(body), job)
            answered = self._answer(job, model, info)
        if self._runtime.shadow is not None:
            self._runtime.shadow.offer(job, model)
        if self._runtime.drift is not None:
            self._runtime.drift.offer(job, model)
        if self._runtime.audit is not None:
            self._runtime.audit.offer(job, model, len(body))
        return answered

    async def _read_body(self, scope: Scope, receive: Receive, deadline: float) -> bytes:
        if WHOLE_BODY_KEY in scope and scope[WHOLE_BODY_KEY]():
            return await _whole_body(receive)
        left_s = deadline - self._clock()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await _whole_body(receive)
        except TimeoutError:
            # What came late to its turn, or met an event loop that stood still, may have been there all the time.
            ours = left_s <= 0 or self._clock() > deadline + PUNCTUAL_S
            kind = DeadlineExceededError if ours else LateBodyError
            raise kind("the deadline passed before the whole body had arrived") from None

    async def _run(
        self, scorer: Scorer, asked: ScoreRequest, deadline: float, info: RequestInfo, receive: Receive
    ) -> Job:
        """Has the request scored, up to its deadline or until its caller leaves."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def on_finish() -> None:
            loop.call_soon_threadsafe(_resolve, ended)

        job = scorer.submit(
            asked.query,
            cast(Sequence[Product], asked.products),
            deadline=deadline,
            partial_answer=asked.partial,
            request_id=info.request_id,
            trace_id=info.trace_id,
            on_finish=on_finish,
        )
        self.early.admitted()
        info.times, info.admitted = job.times, self._clock()
        late = DeadlineExceededError("the deadline passed before every product was scored")
        timer = loop.call_later(max(0.0, deadline - self._clock()), job.end, late)
        watch = asyncio.create_task(_end_when_gone(job, receive))
        try:
            await ended
        finally:
            timer.cancel()
            watch.cancel()
            job.end(ClientGoneError("the request was cancelled"))
        if job.error is not None and not (job.partial and isinstance(job.error, DeadlineExceededError)):
            raise job.error
        return job

    def _answer(self, job: Job, model: LoadedModel, info: RequestInfo) -> Answer:
        logits, scored = job.results()
        finite = np.isfinite(logits)
        broken = int(np.count_nonzero(scored & ~finite))
        if broken:
            self._metrics.not_finite.inc(broken)
            log.error("the model gave logits that are not finite", extra={"fields": {"products": broken}})
        usable = scored & finite
        complete = bool(usable.all())
        info.ending = SCORED if complete else NOT_FINITE if broken else DEADLINE_PASSED
        calibration = model.model.manifest.calibration
        content: dict[str, object] = {
            "model": {"name": model.name, "version": model.version},
            "scores": _numbers(calibration.scores(logits), usable, SCORE_DECIMALS),
            "logits": _numbers(logits, usable, LOGIT_DECIMALS),
            "complete": complete,
        }
        if not complete:
            content["reasons"] = _reasons(scored, usable)
        times = job.times
        if complete and times.pairs_ended is not None:
            self._runtime.overload.answer_lag.observe(self._clock() - times.pairs_ended)
        stages = {"queue": times.queue_s, "tokenize": times.tokenize_s, "inference": times.inference_s}
        # Apart from preparing the rest, of which it takes a part here: the stages add up.
        encode_s = times.encode_s
        for stage, seconds in {**stages, "tokenize": max(0.0, times.tokenize_s - encode_s)}.items():
            self._stages[stage].observe(seconds)
        if times.encode_started is not None:
            self._stages["encode"].observe(encode_s)
        if job.tokens:
            self._metrics.request_tokens.observe(job.tokens)
        # Read last: what the stages took is part of it.
        stages["total"] = self._clock() - info.arrival
        info.log_fields["complete"] = complete
        headers = {
            "x-model-version": model.version,
            "server-timing": ", ".join(f"{stage};dur={seconds * 1000:.3f}" for stage, seconds in stages.items()),
        }
        return answer(200, "application/json", to_json(content), headers)


async def _whole_body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the caller left before its whole body had arrived")
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _resolve(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


async def _end_when_gone(job: Job, receive: Receive) -> None:
    # The body has been read: the next message can only be the disconnect.
    while (await receive())["type"] != "http.disconnect":
        pass
    job.end(ClientGoneError("the caller left before its answer"))


def _check_content_type(scope: Scope) -> None:
    given = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if given in USUAL_CONTENT_TYPES:
        return
    content = Message()
    # Its parser takes a tenth of a second for a header of thousands of parameters.
    content["content-type"] = given.decode("latin-1") if len(given) <= MAX_CONTENT_TYPE_BYTES else ""
    charset = content.get_content_charset("utf-8")
    # Without a sound type, Message answers text/plain.
    if content.get_content_type() != "application/json" or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaError("expected content-type: application/json, in UTF-8")


def _numbers(values: NDArray[np.floating], usable: NDArray[np.bool_], decimals: int) -> list[float | None]:
    rounded: list[float] = np.round(values.astype(np.float64), decimals).tolist()
    if usable.all():
        return [*rounded]
    return [value if has else None for value, has in zip(rounded, usable.tolist(), strict=True)]


def _reasons(scored: NDArray[np.bool_], usable: NDArray[np.bool_]) -> list[NullReason | None]:
    """Why each score is null; None where it is not."""
    unscored: NullReason = "deadline"
    broken: NullReason = "not_finite"
    return [
        None if good else broken if done else unscored
        for done, good in zip(scored.tolist(), usable.tolist(), strict=True)
    ]

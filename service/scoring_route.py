"""POST /score, from bytes to bytes."""

import asyncio
import logging
from collections.abc import Sequence
from email.message import Message
from typing import cast

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from artifact import Product

from .context import SCOPE_KEY, RequestInfo
from .deadline import deadline_at, header_timeouts_ms
from .errors import (
    ClientGoneError,
    DeadlineExceededError,
    ServiceError,
    UnavailableError,
    UnsupportedMediaError,
)
from .job import Job
from .registry import LoadedModel, Registry
from .runtime import Runtime
from .schemas import ScoreRequest, parse_score_request, score_request_model
from .scorer import Scorer

log = logging.getLogger(__name__)

LOGIT_DECIMALS = 6
SCORE_DECIMALS = 8


class ScoreEndpoint:
    """Answers scoring requests with the runtime's models: each with one of them, from its first product to its last."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._metrics = runtime.metrics
        self._clock = runtime.clock
        self._max_timeout_ms = runtime.settings.max_timeout_ms
        self.request_model = score_request_model(runtime.settings.max_products)

    async def __call__(self, request: Request) -> Response:
        info: RequestInfo = request.scope[SCOPE_KEY]
        try:
            with self._runtime.request() as models:
                return await self._score(request, info, models)
        except ServiceError as error:
            if reason := _shed_reason(error):
                self._metrics.shed.labels(reason).inc()
            raise

    async def _score(self, request: Request, info: RequestInfo, models: Registry) -> Response:
        _check_content_type(request)
        timeouts_ms: list[float] = [self._max_timeout_ms, *header_timeouts_ms(request.scope["headers"])]
        body = await self._read_body(request, deadline_at(info.arrival, *timeouts_ms))
        asked = parse_score_request(self.request_model, body)
        model = models.find(asked.model)
        if asked.timeout_ms is not None:
            timeouts_ms.append(asked.timeout_ms)
        info.log_fields["products"] = len(asked.products)
        self._metrics.products.observe(len(asked.products))
        info.log_fields |= {"model": model.name, "version": model.version}
        with model.use():
            job = await self._run(model.scorer, asked, deadline_at(info.arrival, *timeouts_ms), info, request.receive)
            response = self._answer(job, model, info)
        if self._runtime.shadow is not None:
            self._runtime.shadow.offer(job, model)
        return response

    async def _read_body(self, request: Request, deadline: float) -> bytes:
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                return await request.body()
        except TimeoutError:
            raise DeadlineExceededError("the deadline passed before the whole body had arrived") from None
        except ClientDisconnect:
            raise ClientGoneError("the caller left before its whole body had arrived") from None

    async def _run(
        self, scorer: Scorer, asked: ScoreRequest, deadline: float, info: RequestInfo, receive: Receive
    ) -> Job:
        """Has the request scored, up to its deadline or until its caller leaves."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def on_finish() -> None:
            loop.call_soon_threadsafe(ended.set)

        job = scorer.submit(
            asked.query,
            cast(Sequence[Product], asked.products),
            deadline=deadline,
            partial_answer=asked.partial,
            request_id=info.request_id,
            on_finish=on_finish,
        )
        late = DeadlineExceededError("the deadline passed before every product was scored")
        timer = loop.call_later(max(0.0, deadline - self._clock()), job.end, late)
        watch = asyncio.create_task(_end_when_gone(job, receive))
        try:
            await ended.wait()
        finally:
            timer.cancel()
            watch.cancel()
            job.end(ClientGoneError("the request was cancelled"))
        if job.error is not None and not (job.partial and isinstance(job.error, DeadlineExceededError)):
            raise job.error
        return job

    def _answer(self, job: Job, model: LoadedModel, info: RequestInfo) -> Response:
        logits, scored = job.results()
        finite = np.isfinite(logits)
        broken = int(np.count_nonzero(scored & ~finite))
        if broken:
            self._metrics.not_finite.inc(broken)
            log.error("the model gave logits that are not finite", extra={"fields": {"products": broken}})
        usable = scored & finite
        complete = bool(usable.all())
        if not complete:
            self._metrics.partial.inc()
        calibration = model.model.manifest.calibration
        content = to_json(
            {
                "model": {"name": model.name, "version": model.version},
                "scores": _numbers(calibration.scores(logits), usable, SCORE_DECIMALS),
                "logits": _numbers(logits, usable, LOGIT_DECIMALS),
                "complete": complete,
            }
        )
        times = job.times
        stages = {"queue": times.queue_s, "tokenize": times.tokenize_s, "inference": times.inference_s}
        for stage, seconds in stages.items():
            self._metrics.stage.labels(stage).observe(seconds)
        stages["total"] = self._clock() - info.arrival
        info.log_fields["complete"] = complete
        headers = {
            "x-model-version": model.version,
            "server-timing": ", ".join(f"{stage};dur={seconds * 1000:.2f}" for stage, seconds in stages.items()),
        }
        return Response(content, media_type="application/json", headers=headers)


async def _end_when_gone(job: Job, receive: Receive) -> None:
    # The body has been read: the next message can only be the disconnect.
    while (await receive())["type"] != "http.disconnect":
        pass
    job.end(ClientGoneError("the caller left before its answer"))


def _check_content_type(request: Request) -> None:
    content = Message()
    content["content-type"] = request.headers.get("content-type", "")
    charset = content.get_content_charset("utf-8")
    # Without a sound type, Message answers text/plain.
    if content.get_content_type() != "application/json" or charset not in ("utf-8", "utf8"):
        raise UnsupportedMediaError("expected content-type: application/json, in UTF-8")


def _numbers(values: NDArray[np.floating], usable: NDArray[np.bool_], decimals: int) -> list[float | None]:
    rounded: list[float] = np.round(values.astype(np.float64), decimals).tolist()
    if usable.all():
        return [*rounded]
    return [value if has else None for value, has in zip(rounded, usable.tolist(), strict=True)]


def _shed_reason(error: ServiceError) -> str | None:
    match error:
        case UnavailableError():
            return error.reason
        case DeadlineExceededError():
            return "deadline"
        case ClientGoneError():
            return "client_gone"
        case _:
            return None

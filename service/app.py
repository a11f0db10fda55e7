"""The application factory, and the small routes beside POST /score."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .deadline import deadline_at
from .door import Door
from .errors import MethodNotAllowedError, NotReadyError, RouteNotFoundError
from .exposition import FORMATS, choose_format
from .keys import Keys
from .metrics import Metrics
from .middleware import AccessLog, AuthMiddleware, BodyMiddleware, RequestMiddleware, is_admitted
from .model import load_model
from .openapi import answers, install_openapi, problems
from .planted.plant import plant
from .protocol import MAX_UNREAD_BYTES
from .reports import Live, Models, Ready
from .runtime import Loader, Runtime
from .scoring_route import ScoreEndpoint
from .settings import Settings
from .tracing.tracing import make_tracing

OPEN_PATHS = ("/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs")


class App(FastAPI):
    """FastAPI for the small routes and the documentation. POST /score goes past its routing, which would cost more
    than all else that the event loop does for an answer.

    Attributes:
        score: answers POST /score.
        door: is asked before; None where nothing may pass the application by.
    """

    score: ASGIApp
    door: Door | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/score" and scope["method"] == "POST":
            if self.door is not None:
                self.door.its_turn(scope)
            await self.score(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.monotonic,
    load: Loader = load_model,
    on_failure: Callable[[], None] = lambda: None,
    on_loaded: Callable[[], None] = lambda: None,
) -> App:
    """Builds the application. The models are loaded in the background once its lifespan begins.

    Args:
        settings: configuration.
        clock: monotonic, in seconds.
        load: makes a model, in a thread.
        on_failure: told that a model could not be loaded; without it the app stays up, not ready, and says why.
        on_loaded: told, in a thread, that models were loaded, or that a replaced one was let go.

    Returns:
        An app whose `state.runtime` is its Runtime, and `state.keys` its Keys.

    Raises:
        TracingError: spans are asked for, and OpenTelemetry is not installed.
    """
    metrics = Metrics()
    tracing = make_tracing(settings, metrics, clock)
    planted = plant(settings, load, metrics, clock) if settings.planted_faults else None
    runtime = Runtime(settings, metrics, clock, planted.load if planted else load, on_failure, on_loaded)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        runtime.start()
        if tracing is not None:
            tracing.start()
        yield
        runtime.drain()
        await runtime.stop()
        if tracing is not None:
            await asyncio.to_thread(tracing.stop)

    app = App(title="shelfscore", version=version("shelfscore"), lifespan=lifespan, redoc_url=None)
    app.router.redirect_slashes = False
    metrics.build_info.labels(app.version).set(1)
    app.state.runtime = runtime
    endpoint = ScoreEndpoint(runtime, planted.deadline_at if planted else deadline_at)
    # For what is not a POST.
    app.router.routes.append(Route("/score", endpoint, methods=["POST"], include_in_schema=False))
    _add_small_routes(app, runtime)
    keys = Keys([key.get_secret_value() for key in settings.api_keys], settings.api_keys_file, clock)
    app.state.keys = keys
    install_openapi(app, endpoint.request_model, needs_key=keys.needed, open_paths=OPEN_PATHS)
    app.add_exception_handler(HTTPException, _raise_ours)

    routes = ["/score", "/models", *OPEN_PATHS]
    access_log = AccessLog(clock, rate=settings.log_rate)

    def wrap(inner: ASGIApp) -> RequestMiddleware:
        bounded = BodyMiddleware(inner, max_body_bytes=settings.max_body_bytes)
        opened = AuthMiddleware(bounded, keys=keys, open_paths=OPEN_PATHS)
        return RequestMiddleware(
            opened, metrics=metrics, clock=clock, access_log=access_log, routes=routes, tracing=tracing
        )

    app.add_middleware(wrap)
    app.score = outermost = wrap(planted.wrap(endpoint) if planted else endpoint)
    if planted is None:
        app.door = Door(
            endpoint.early,
            ready=lambda: runtime.unavailable() is None,
            max_body_bytes=min(settings.max_body_bytes, MAX_UNREAD_BYTES),
            max_timeout_ms=settings.max_timeout_ms,
            due=deadline_at,
            admits=partial(is_admitted, keys),
            info_of=outermost.info_of,
            ended=outermost.refused,
        )
    return app


def _add_small_routes(app: FastAPI, runtime: Runtime) -> None:
    rendering = asyncio.Lock()

    @app.get("/health/live", summary="Whether the process can make progress", responses=answers(Live) | problems())
    async def live() -> dict[str, Any]:
        alive = runtime.lanes.alive()
        if alive < runtime.lanes.count:
            raise NotReadyError(f"{runtime.lanes.count - alive} of {runtime.lanes.count} inference lanes do not answer")
        return {"status": "live", "lanes": alive}

    @app.get("/health/ready", summary="Whether requests will be served", responses=answers(Ready) | problems())
    async def ready() -> dict[str, Any]:
        reason = runtime.unavailable()
        if reason is not None:
            raise reason
        return {"status": "ready"}

    @app.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses=answers(None, *(each.media_type for each in FORMATS)) | problems(),
    )
    async def metrics(request: Request) -> Response:
        wanted = choose_format(request.headers.get("accept", ""))
        # It takes milliseconds. One at a time: whoever asks faster would keep lanes and event loop waiting.
        async with rendering:
            content = await asyncio.to_thread(runtime.metrics.render, wanted)
        return Response(content, media_type=wanted.content_type)

    @app.get("/models", summary="The loaded models", responses=answers(Models) | problems(401))
    async def models() -> Response:
        return JSONResponse({"models": runtime.models()})


async def _raise_ours(_: Request, error: Exception) -> Response:
    """Turns the framework's own refusals into ours; the outermost middleware renders them."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        raise MethodNotAllowedError("the route exists, the method does not", headers=dict(error.headers or {}))
    raise RouteNotFoundError("no such route")

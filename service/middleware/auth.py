"""Lets through those who carry a key, where keys are configured."""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import UnauthorizedError
from ..keys import Keys


class AuthMiddleware:
    """Checks `Authorization: Bearer KEY`. Every path needs a key unless it is listed as open.

    Args:
        app: what it wraps.
        keys: accepted keys; none lets everybody through.
        open_paths: paths that need none: probes and scrapers carry no key.
    """

    def __init__(self, app: ASGIApp, keys: Keys, open_paths: Collection[str]) -> None:
        self._app = app
        self._keys = keys
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._keys.needed and scope["type"] == "http" and scope["path"] not in self._open_paths:
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, given = header.partition(b" ")
        accepted = self._keys.accept(given.strip())
        if scheme.lower() != b"bearer" or not accepted:
            raise UnauthorizedError

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
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not is_admitted(self._keys, header):
                raise UnauthorizedError
        await self._app(scope, receive, send)


def is_admitted(keys: Keys, authorization: bytes) -> bool:
    """Whether an Authorization header, empty without one, carries a key, or none is needed."""
    if not keys.needed:
        return True
    scheme, _, given = authorization.partition(b" ")
    accepted = keys.accept(given.strip())
    return scheme.lower() == b"bearer" and accepted

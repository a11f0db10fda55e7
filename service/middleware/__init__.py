"""Pure ASGI middleware, one class per file."""

from .auth import AuthMiddleware
from .body import BodyMiddleware
from .request import RequestMiddleware

__all__ = ["AuthMiddleware", "BodyMiddleware", "RequestMiddleware"]

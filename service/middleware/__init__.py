"""Pure ASGI middleware, one class per file, and the log of requests."""

from .access_log import AccessLog
from .auth import AuthMiddleware, is_admitted
from .body import BodyMiddleware
from .request import RequestMiddleware

__all__ = ["AccessLog", "AuthMiddleware", "BodyMiddleware", "RequestMiddleware", "is_admitted"]

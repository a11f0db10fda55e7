"""Refuses POST /score by its head alone while there is too much work: no task is made for it, and no body kept."""

from collections.abc import Callable, Sequence

from starlette.types import Scope

from .answer import NO_SNIFFING, render_head
from .context import LET_IN_KEY, SCOPE_KEY, RequestInfo
from .deadline import header_timeouts_ms
from .early_refusal import EarlyRefusal, LetIn
from .errors import InvalidRequestError, OverloadedError
from .problem import problem_answer

USUAL_CONTENT_TYPES = (b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8")
UNUSUAL = (b"content-encoding", b"transfer-encoding", b"expect")
MOST_DIGITS = 12


class Door:
    """Asked before anything else is done for a request.

    What it lets through is looked at by all that looks at any request: it refuses only what would have been scored, had
    there been room. Heads that are not as plain as a ranker's, of compressed or chunked bodies, pass.

    Args:
        early: decides by length and deadline.
        ready: whether requests are served at all.
        max_body_bytes: longer ones pass; they are refused for their length.
        max_timeout_ms: the longest deadline.
        due: when a request is due, by its arrival and its timeouts.
        admits: whether the value of an Authorization header, empty without one, opens the service.
        info_of: what is known of a request from its head.
        ended: told of every refusal.
    """

    def __init__(
        self,
        early: EarlyRefusal,
        *,
        ready: Callable[[], bool],
        max_body_bytes: int,
        max_timeout_ms: float,
        due: Callable[..., float],
        admits: Callable[[bytes], bool],
        info_of: Callable[[Scope], RequestInfo],
        ended: Callable[[Scope, RequestInfo, OverloadedError], None],
    ) -> None:
        self._early = early
        self._ready = ready
        self._max_body_bytes = max_body_bytes
        self._max_timeout_ms = max_timeout_ms
        self._due = due
        self._admits = admits
        self._info_of = info_of
        self._ended = ended

    def refusal(self, scope: Scope, headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """The whole answer to a request that is refused; None for one that may come in.

        Args:
            scope: of a POST /score whose head has ended. Its body is read and thrown away: the connection stays open.
            headers: that every answer has.
        """
        if not self._early.strict or not self._ready():
            return None
        body_bytes = self._plain_length(scope)
        if body_bytes is None:
            return None
        scope[SCOPE_KEY] = info = self._info_of(scope)
        try:
            timeouts_ms = header_timeouts_ms(scope["headers"])
            deadline = self._due(info.arrival, self._max_timeout_ms, *timeouts_ms)
            scope[LET_IN_KEY] = self._early.let_in(body_bytes, deadline)
        except InvalidRequestError:
            return None
        except OverloadedError as error:
            self._ended(scope, info, error)
            answer = problem_answer(error, info.request_id)
            own = [*headers, *answer.headers, *info.headers, NO_SNIFFING]
            return render_head(answer.status, own) + answer.body
        return None

    def _plain_length(self, scope: Scope) -> int | None:
        """Of the body, where the head says it and gives no other reason to be refused."""
        found: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in UNUSUAL:
                return None
            # Of several the first counts, as for the application.
            found.setdefault(name, value)
        digits = found.get(b"content-length", b"")
        length = int(digits) if digits.isdigit() and len(digits) <= MOST_DIGITS else 0
        content_type, authorization = found.get(b"content-type", b""), found.get(b"authorization", b"")
        usual = 0 < length <= self._max_body_bytes and content_type in USUAL_CONTENT_TYPES
        return length if usual and self._admits(authorization) else None

    def its_turn(self, scope: Scope) -> None:
        """Its task has begun: what it was let in for is no longer to come. Called for every request."""
        let_in: LetIn | None = scope.get(LET_IN_KEY)
        if let_in is not None:
            self._early.its_turn(let_in)

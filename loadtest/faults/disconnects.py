"""Callers that leave: at every stage of their request."""

from .fault import PACED, Fault
from .raw import Raw, get, head
from .scene import Scene, expect, golden_body, only
from .witness import Witness

_GONE = 'score_requests_total{outcome="gone",reason="client_gone"}'


def before_the_body(scene: Scene) -> str:
    """A head, and nothing behind it."""
    with scene.counting(_GONE), Raw(scene.port) as raw:
        raw.send(head("/score", "POST", "content-length: 100"))
        _wait_for_requests(scene, 1)
        raw.reset()
    return "forgotten"


def during_the_body(scene: Scene) -> str:
    """Half a body, once with a goodbye and once with a reset."""
    body = golden_body()
    with scene.counting(_GONE, by=2):
        for reset in (False, True):
            with Raw(scene.port) as raw:
                raw.send(head("/score", "POST", f"content-length: {len(body)}") + body[: len(body) // 2])
                _wait_for_requests(scene, 1)
                if reset:
                    raw.reset()
    return "forgotten twice"


def after_the_body(scene: Scene) -> str:
    """A whole request, and gone at once: whether it is scored before that is noticed is open."""
    with Witness(scene) as witness:
        for _ in range(20):
            with Raw(scene.port) as raw:
                raw.send(scene.golden())
                raw.reset()
    _wait_until_idle(scene)
    return f"20 forgotten; {witness}"


def in_the_queue(scene: Scene) -> str:
    """A request that waits behind another one's micro-batch."""
    with Raw(scene.port) as working, scene.counting(_GONE):
        working.send(scene.golden())
        _wait_until_queued(scene)
        with Raw(scene.port) as waiting:
            waiting.send(scene.golden())
            _wait_for_requests(scene, 2)
            waiting.reset()
        answer = working.answer()
        only(answer, 200)
        expect(answer is not None and scene.is_golden(answer), "the request in work got other scores")
    return "forgotten; the one before it 200 with its scores"


def in_the_batch(scene: Scene) -> str:
    """A request whose micro-batch runs."""
    with scene.counting(_GONE), Raw(scene.port) as raw:
        raw.send(scene.golden())
        _wait_until_queued(scene)
        raw.reset()
    _wait_until_idle(scene)
    return "forgotten, no place in the queue kept"


def while_writing(scene: Scene) -> str:
    """A caller that reads the first byte of a long answer, and leaves."""
    with Witness(scene) as witness:
        for _ in range(5):
            with Raw(scene.port, receive_bytes=2048) as raw:
                raw.send(get("/openapi.json") * 8)
                expect(raw.poll(10.0), "no byte of the answer")
                raw.reset()
    _wait_until_idle(scene)
    return f"5 forgotten; {witness}"


def without_a_word(scene: Scene) -> str:
    """Many connections that say nothing and leave."""
    with Witness(scene) as witness:
        for _ in range(200):
            with Raw(scene.port):
                pass
    _wait_until_idle(scene)
    return f"200 forgotten; {witness}"


def _wait_for_requests(scene: Scene, count: int) -> None:
    # The one that asks is in flight too.
    scene.wait_until(f"{count} requests in work", lambda: scene.metric("in_flight_requests") > count)


def _wait_until_queued(scene: Scene) -> None:
    scene.wait_until("a request in work", lambda: scene.metric("queued_products") > 0)


def _wait_until_idle(scene: Scene) -> None:
    scene.wait_until("nothing in the queue", lambda: scene.metric("queued_products") == 0)


def _fault(name: str, expectation: str, run: object) -> Fault:
    return Fault(f"disconnect {name}", "callers that leave", expectation, run, PACED)  # type: ignore[arg-type]


FAULTS = (
    _fault("before the body", "forgotten and counted as gone", before_the_body),
    _fault("during the body", "forgotten and counted as gone", during_the_body),
    _fault("after the body", "forgotten, whether it was scored or not", after_the_body),
    _fault("in the queue", "counted as gone, others unharmed", in_the_queue),
    _fault("in the batch", "counted as gone, its place free at once", in_the_batch),
    _fault("while writing", "forgotten, nothing kept for it", while_writing),
    _fault("without a word", "forgotten", without_a_word),
)

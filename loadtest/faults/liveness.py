"""After a fault: is the service alive and ready, does it score as before, has it kept nothing of what went wrong?"""

import time
from functools import partial

from .raw import Answer, ask
from .scene import NotAsExpected, Scene, expect, statuses_of

_FAILED = 'status="500"'
_KEPT_CONNECTIONS = 4
"""The asker's own, and what has just been closed and not yet been noticed."""


def learn_scores(scene: Scene) -> None:
    """Asks for the golden request's scores, before anything has gone wrong.

    Raises:
        NotAsExpected: there are none.
    """
    answer = ask(scene.port, scene.golden())
    expect(answer.status == 200, f"{answer.status} to a sound request before the fault")
    scene.scores = answer.json()["scores"]
    expect(all(isinstance(score, float | int) for score in scene.scores), f"scores {scene.scores} before the fault")


def check_alive(scene: Scene) -> str:
    """In words, what holds.

    Raises:
        NotAsExpected: something does not.
    """
    if scene.server is not None:
        code = scene.server.exit_code()
        expect(code is None, f"the process has ended with exit code {code}")
    for path in ("/health/live", "/health/ready"):
        scene.wait_until(f"200 to {path}", partial(_is_ok, scene, path))
    tried_s = _score_again(scene)
    scene.wait_until("nothing in the queue", lambda: scene.metric("queued_products") == 0)
    # The one that asks is in work itself.
    scene.wait_until("no request in work", lambda: scene.metric("in_flight_requests") <= 1)
    scene.wait_until("its connections closed", lambda: scene.metric("connections") <= _KEPT_CONNECTIONS)
    failed = sum(value for name, value in scene.metrics().items() if "_requests_total" in name and _FAILED in name)
    expect(failed <= scene.planted_500s, f"{failed:g} answers with 500, planted {scene.planted_500s}")
    return "alive, same scores" + (f" after {tried_s:.1f} s" if tried_s > 1 else "")


def check_ended(scene: Scene) -> str:
    """The same of one that had to end: it is gone, and cleanly."""
    code = scene.process.exit_code(1.0)
    expect(code is not None, "the process is still there")
    return f"ended, exit {code}"


def _score_again(scene: Scene) -> float:
    """Until the golden request gets its scores; refusals count as not yet. Returns the seconds."""
    started_s = time.monotonic()
    while True:
        answer: Answer = ask(scene.port, scene.golden())
        if scene.is_golden(answer):
            return time.monotonic() - started_s
        expect(answer.status in (503, 504), f"{statuses_of([answer])} to a sound request, not its scores")
        if time.monotonic() - started_s > scene.patience_s:
            raise NotAsExpected(f"still {answer.status} to a sound request after {scene.patience_s:g} s")
        time.sleep(0.1)


def _is_ok(scene: Scene, path: str) -> bool:
    return scene.status(path) == 200

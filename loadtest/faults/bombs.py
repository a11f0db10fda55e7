"""Small things that want to become large: headers, compression, nesting. Memory has to stay where it was."""

import contextlib
import gzip
import json

from .fault import QUICK, Fault, Run
from .raw import Raw, ask, head, post
from .scene import Scene, expect, golden_body, only
from .witness import Witness

_MAX_GROWTH_BYTES = 64 << 20
_BOMB_BYTES = 256 << 20


def many_headers(scene: Scene) -> str:
    """Ten thousand small ones."""
    return _head_refused(scene, b"x: y\r\n" * 10_000)


def huge_header(scene: Scene) -> str:
    """One of 16 MiB."""
    return _head_refused(scene, b"x: " + b"y" * (16 << 20) + b"\r\n")


def huge_url(scene: Scene) -> str:
    """One of a megabyte."""
    with Raw(scene.port) as raw:
        with contextlib.suppress(ConnectionError):
            raw.send(b"GET /" + b"x" * (1 << 20) + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        return f"{only(raw.answer(), 431)}, then closed"


def gzip_bomb(scene: Scene) -> str:
    """Spaces, a thousand times as many as there are bytes."""
    bomb = gzip.compress(b" " * _BOMB_BYTES, mtime=0)
    with Witness(scene) as witness:
        seen = _bounded(scene, post(bomb, "content-encoding: gzip"), 413)
    return f"{seen} for {len(bomb) >> 10} KiB; {witness}"


def gzip_members(scene: Scene) -> str:
    """A hundred thousand members of nothing."""
    with Witness(scene) as witness:
        seen = _bounded(scene, post(gzip.compress(b"", mtime=0) * 100_000, "content-encoding: gzip"), 400)
    return f"{seen}; {witness}"


def gzip_in_gzip(scene: Scene) -> str:
    """Compressed twice, and said so."""
    body = gzip.compress(gzip.compress(golden_body(), mtime=0), mtime=0)
    return only(ask(scene.port, post(body, "content-encoding: gzip, gzip")), 415)


def cut_gzip(scene: Scene) -> str:
    """A stream that breaks off."""
    return only(ask(scene.port, post(gzip.compress(golden_body(), mtime=0)[:-12], "content-encoding: gzip")), 400)


def nesting(scene: Scene) -> str:
    """JSON a hundred thousand levels deep."""
    with Witness(scene) as witness:
        seen = _bounded(scene, post(b"[" * 100_000 + b"]" * 100_000), 400)
    return f"{seen}; {witness}"


def long_texts(scene: Scene) -> str:
    """A title may be as long as the body; other fields may not."""
    products = [{"title": "x" * 1_000_000}]
    title = _bounded(scene, post(json.dumps({"query": "usb", "products": products}).encode()), 200)
    products = [{"title": "x", "brand": "x" * 1_000_000}]
    brand = only(ask(scene.port, post(json.dumps({"query": "usb", "products": products}).encode())), 422)
    return f"title {title}, brand {brand}"


def _head_refused(scene: Scene, headers: bytes) -> str:
    with Witness(scene) as witness, Raw(scene.port) as raw:
        with contextlib.suppress(ConnectionError):
            raw.send(head("/health/live", "GET")[:-2] + headers + b"\r\n")
        seen = only(raw.answer(), 431)
        expect(raw.answer() is None, "the connection stayed open behind the 431")
    return f"{seen}, then closed; {witness}"


def _bounded(scene: Scene, request: bytes, status: int) -> str:
    """Sends it five times; the answer must be this status, and memory stay within bounds."""
    before = scene.target.rss_bytes() or 0
    seen = [only(ask(scene.port, request), status) for _ in range(5)]
    grown = (scene.target.rss_bytes() or 0) - before
    expect(grown <= _MAX_GROWTH_BYTES, f"memory grew by {grown >> 20} MiB")
    return f"{len(seen)} x {status}"


def _fault(name: str, expectation: str, run: Run) -> Fault:
    return Fault(name, "bombs", expectation, run, QUICK)


FAULTS = (
    _fault("10,000 headers", "431, closed", many_headers),
    _fault("a header of 16 MiB", "431, closed", huge_header),
    _fault("a URL of 1 MiB", "431, closed", huge_url),
    _fault("gzip bomb of 256 MiB", "413, memory within 64 MiB", gzip_bomb),
    _fault("100,000 gzip members", "400, memory within 64 MiB", gzip_members),
    _fault("gzip in gzip", "415", gzip_in_gzip),
    _fault("gzip cut short", "400", cut_gzip),
    _fault("JSON 100,000 levels deep", "400, memory within 64 MiB", nesting),
    _fault("texts of 1 MB", "200 for a title, memory within 64 MiB; 422 for another field", long_texts),
)

"""The contestants of a command line, told to `bench` and `compare` alike."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LoadtestError
from ..traffic.requests import PRODUCT_FIELDS
from .contestants import PEER_BATCH_SIZE, Contestant, infinity, ours, plain, with_settings
from .protocols import ProductText


@dataclass(frozen=True, slots=True)
class Lineup:
    """Who takes part."""

    contestants: Sequence[Contestant]
    peer_missing: str | None
    """Why the peer is not among them, in words; None where it is."""
    text: ProductText | None
    """What servers without fields get of a product; None: what the first server's template reads."""


def add_lineup_options(parser: argparse.ArgumentParser, title: str) -> None:
    """Adds them, as a group of that title."""
    who = parser.add_argument_group(title)
    who.add_argument(
        "--artifact", action="append", default=[], metavar="NAME=FOLDER", help="our service on an artifact"
    )
    who.add_argument(
        "--command",
        action="append",
        default=[],
        dest="commands",
        metavar="'NAME=COMMAND {port}'",
        help="another server of the same contract, such as another checkout's",
    )
    who.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="NAME:SETTING=VALUE",
        help="a setting for one of these two kinds alone, such as split:STATE_CACHE_BYTES=10000000; may be repeated",
    )
    who.add_argument("--plain", type=Path, metavar="FOLDER", help="the same weights behind a plain FastAPI handler")
    who.add_argument("--peer-model", type=Path, metavar="FOLDER", help="the same weights for infinity-emb, int8 ONNX")
    who.add_argument("--peer-python", type=Path, metavar="FILE", help="interpreter of infinity-emb's own environment")
    who.add_argument(
        "--peer-batch-size",
        type=int,
        default=PEER_BATCH_SIZE,
        metavar="N",
        help="its own default is 32 (default %(default)s)",
    )
    who.add_argument(
        "--peer-fields",
        metavar="A,B,C",
        help="product fields of the peer's text (default: those of the first server's template)",
    )


def lineup_of(parsed: argparse.Namespace, environment: Mapping[str, str], say: Callable[[str], object]) -> Lineup:
    """The contestants, with names of their own; a peer that is not at hand is left out, and `say` is told why.

    Raises:
        LoadtestError: a contestant cannot be had, or there is none of our contract.
    """
    if not 0 < parsed.peer_batch_size <= 100_000:
        raise LoadtestError(f"--peer-batch-size: expected 1 to 100000, found {parsed.peer_batch_size}")
    contestants = with_settings(ours(parsed.artifact, parsed.commands, environment), parsed.settings)
    if parsed.plain:
        contestants.append(plain(parsed.plain, environment))
    peer = infinity(parsed.peer_python, parsed.peer_model, environment, parsed.peer_batch_size)
    missing = None
    if isinstance(peer, Contestant):
        contestants.append(peer)
    else:
        missing = peer
        say(f"going on without the peer: {peer}")
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names):
        raise LoadtestError(f"expected a name of its own for each contestant, found {', '.join(names)}")
    return Lineup(contestants, missing, _text(parsed.peer_fields))


def _text(peer_fields: str | None) -> ProductText | None:
    if peer_fields is None:
        return None
    fields = tuple(name.strip() for name in peer_fields.split(","))
    for name in fields:
        if name not in PRODUCT_FIELDS:
            raise LoadtestError(f"--peer-fields: expected some of {', '.join(PRODUCT_FIELDS)}, found {name!r}")
    return ProductText(fields)

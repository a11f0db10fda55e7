"""`python -m deploy.image build OUT` replays the Dockerfile; `contents OUT` says what came of it."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .container import why_not_contained
from .contents import table
from .replay import Image, ReplayError, replay

ROOT = Path(__file__).parents[2]


def main(arguments: Sequence[str]) -> int:
    """Returns 0; 1 where a step failed, 2 where nothing can be contained here."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="carry the Dockerfile's steps out; what OUT held is removed")
    build.add_argument("out", type=Path)
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    contents = commands.add_parser("contents", help="packages and sizes, in Markdown")
    contents.add_argument("out", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command == "contents":
        print(table(Image.load(chosen.out / "image.json").root))
        return 0
    if why := why_not_contained():
        print(f"cannot replay the Dockerfile: {why}", file=sys.stderr)
        return 2
    if (chosen.out / "image.json").exists():
        shutil.rmtree(chosen.out)
    try:
        replay(ROOT, chosen.out, dict(each.split("=", 1) for each in chosen.build_arg), print)
    except ReplayError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

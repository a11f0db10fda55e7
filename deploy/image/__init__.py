"""Replays the Dockerfile without a container engine: `python -m deploy.image --help`.

dockerfile  reads it into stages of steps
context     the files that .dockerignore lets through
replay      carries the steps out, each stage in a folder of its own
container   runs a command with such a folder as its root, as process 1
contents    what the image holds, and how large it is
"""

from .container import contained, why_not_contained
from .contents import Package, packages
from .context import context_files
from .replay import Image, ReplayError, replay

__all__ = [
    "Image",
    "Package",
    "ReplayError",
    "contained",
    "context_files",
    "packages",
    "replay",
    "why_not_contained",
]

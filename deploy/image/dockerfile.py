"""Reads a Dockerfile into stages of steps. What the steps mean is for `replay`."""

import io
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from dockerfile_parse import DockerfileParser


class DockerfileError(ValueError):
    """The Dockerfile has something that is not understood here."""


@dataclass(frozen=True)
class Step:
    """One instruction: its line (from 1), its name in capitals, and what follows, continued lines joined."""

    line: int
    instruction: str
    value: str


@dataclass(frozen=True)
class Stage:
    """What one FROM begins: its name (or number), its base image, its steps."""

    name: str
    base: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Dockerfile:
    """The arguments before the first FROM with their defaults, and the stages in order; the last one is the image."""

    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]


def read_dockerfile(path: Path) -> Dockerfile:
    """Reads the file.

    Raises:
        DockerfileError: an instruction stands before FROM that is no ARG.
    """
    arguments: dict[str, str] = {}
    stages: list[tuple[str, str, list[Step]]] = []
    for each in DockerfileParser(fileobj=io.BytesIO(path.read_bytes())).structure:
        step = Step(each["startline"] + 1, each["instruction"].upper(), each["value"])
        if step.instruction == "COMMENT":
            continue
        if step.instruction == "FROM":
            base, _, name = re.sub(r"\s+[Aa][Ss]\s+", " AS ", step.value.strip()).partition(" AS ")
            stages.append((name or str(len(stages)), base, []))
        elif stages:
            stages[-1][2].append(step)
        elif step.instruction == "ARG":
            arguments.update(assignments(step.value, arguments))
        else:
            raise DockerfileError(f"line {step.line}: {step.instruction} before FROM")
    return Dockerfile(arguments, tuple(Stage(name, base, tuple(steps)) for name, base, steps in stages))


def assignments(value: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The `NAME=VALUE` of ENV, LABEL and ARG, with variables filled in; an ARG without a default is empty."""
    pairs = (word.partition("=") for word in shlex.split(value))
    return {name: expand(text, variables) for name, _, text in pairs}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Fills in `$NAME` and `${NAME}`.

    Raises:
        DockerfileError: a variable is not set, or one of the forms with a default is used.
    """
    try:
        return Template(text).substitute(variables)
    except (KeyError, ValueError) as error:
        raise DockerfileError(f"cannot fill in {text!r}: {error}") from None


def words(value: str) -> list[str]:
    """A command in its JSON form.

    Raises:
        DockerfileError: it is in the shell's form, which would put a shell between the process and its signals.
    """
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(word, str) for word in parsed):
        raise DockerfileError(f'expected ["a", "command"], not {value!r}')
    return parsed

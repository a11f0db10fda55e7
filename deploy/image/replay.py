"""Carries out a Dockerfile's steps, each stage in a folder of its own that commands see as their root.

What it does not know it refuses: a step that is skipped in silence would be a step that nobody has tried.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .container import contained, lay_base
from .context import context_files
from .dockerfile import DockerfileError, Stage, Step, assignments, expand, read_dockerfile, words

CACHE = "--mount=type=cache,target="


class ReplayError(RuntimeError):
    """A step failed, or cannot be carried out here."""


@dataclass
class Image:
    """What a stage came to.

    Attributes:
        root: the folder that is the root directory; the base image's own files are not in it.
        environment: variables that a process of it starts with.
        user: number of its user.
        workdir: where a process starts.
        command, healthcheck: programs with their arguments.
        stop_signal: what an engine stops it with.
        labels: as they stand.
    """

    root: Path
    environment: dict[str, str]
    user: str = "0"
    workdir: str = "/"
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"
    labels: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        path.write_text(json.dumps({**asdict(self), "root": str(self.root)}, indent=2))

    @classmethod
    def load(cls, path: Path) -> "Image":
        """Reads what `save` wrote."""
        saved = json.loads(path.read_text())
        return cls(**{**saved, "root": Path(saved["root"])})


def replay(
    folder: Path, out: Path, arguments: Mapping[str, str] | None = None, say: Callable[[str], None] = lambda _: None
) -> Image:
    """Builds the image of a folder's Dockerfile.

    Args:
        folder: with the Dockerfile, .dockerignore and the context.
        out: folder to make; takes a folder for each stage, and `image.json`.
        arguments: build arguments that replace the Dockerfile's defaults.
        say: told of each step as it begins.

    Raises:
        ReplayError: a step failed, or is of a kind that is not known here.
    """
    given = dict(arguments or {})
    dockerfile = read_dockerfile(folder / "Dockerfile")
    with tempfile.TemporaryDirectory() as scratch:
        context = Path(scratch)
        for each in context_files(folder):
            (context / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / each, context / each)
        built: dict[str, Path] = {}
        for stage in dockerfile.stages:
            say(f"FROM {stage.base} (this machine's Python {sys.version.split()[0]} stands in for it)")
            root = out.resolve() / stage.name
            state = _Stage(stage, root, context, built, {**dockerfile.arguments, **given}, given)
            for step in stage.steps:
                say(f"{step.instruction} {step.value}")
                state.do(step)
            built[stage.name] = root
    state.image.save(out / "image.json")
    return state.image


class _Stage:
    """One stage at work."""

    def __init__(
        self,
        stage: Stage,
        root: Path,
        context: Path,
        built: Mapping[str, Path],
        outer: Mapping[str, str],
        given: Mapping[str, str],
    ) -> None:
        if stage.base in built:
            raise ReplayError(f"FROM {stage.base}: a stage on top of another is not known here")
        self.image = Image(root, lay_base(root))
        self._context = context
        self._built = built
        self._outer = outer
        self._given = given
        self._arguments: dict[str, str] = {}

    def do(self, step: Step) -> None:
        """Carries out a step."""
        try:
            self._do(step.instruction, step.value)
        except (DockerfileError, OSError) as error:
            raise ReplayError(f"line {step.line}: {error}") from error

    def _do(self, instruction: str, value: str) -> None:
        match instruction:
            case "ARG":
                self._arg(value)
            case "ENV":
                self.image.environment.update(assignments(value, self._variables))
            case "LABEL":
                self.image.labels.update(assignments(value, self._variables))
            case "RUN":
                self._run(value)
            case "COPY":
                self._copy(value)
            case "WORKDIR":
                self.image.workdir = str(Path(self.image.workdir, expand(value, self._variables)))
                self._inside(self.image.workdir).mkdir(parents=True, exist_ok=True)
            case "USER":
                self.image.user = expand(value, self._variables)
            case "EXPOSE":
                expand(value, self._variables)
            case "STOPSIGNAL":
                self.image.stop_signal = value
            case "HEALTHCHECK":
                self.image.healthcheck = words(value.partition("CMD ")[2])
            case "CMD":
                self.image.command = words(value)
            case _:
                raise DockerfileError(f"{instruction} is not known here")

    @property
    def _variables(self) -> dict[str, str]:
        return {**self._arguments, **self.image.environment}

    def _arg(self, value: str) -> None:
        for name, default in assignments(value, self._variables).items():
            if "=" in value:
                self._arguments[name] = self._given.get(name, default)
            else:
                self._arguments[name] = self._outer.get(name, "")

    def _run(self, value: str) -> None:
        caches = []
        while value.startswith("--"):
            flag, _, value = value.partition(" ")
            if not flag.startswith(CACHE):
                raise DockerfileError(f"RUN {flag}: of the flags only {CACHE}... is known here")
            caches.append(flag.removeprefix(CACHE))
        command = contained(
            self.image.root,
            ["/bin/sh", "-c", value.strip()],
            environment=self._variables,
            workdir=self.image.workdir,
            user=self.image.user,
            caches=caches,
        )
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise ReplayError(f"RUN {value}\nended with {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")

    def _copy(self, value: str) -> None:
        *sources, target = expand(value, self._variables).split()
        place = self._context
        if sources and sources[0].startswith("--from="):
            place = self._built[sources.pop(0).removeprefix("--from=")]
        if not sources or any(each.startswith("--") for each in sources):
            raise DockerfileError(f"COPY {value}: of the flags only --from is known here")
        into = self._inside(str(Path(self.image.workdir, target)))
        for each in sources:
            found = place / each.lstrip("/")
            if not found.exists():
                raise DockerfileError(f"COPY {value}: there is no {each}")
            if found.is_dir():
                into.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "--archive", f"{found}/.", into], check=True)
            else:
                (into if target.endswith("/") else into.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, into)

    def _inside(self, path: str) -> Path:
        return self.image.root / path.lstrip("/")

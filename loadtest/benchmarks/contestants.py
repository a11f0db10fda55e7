"""Who takes part in the benchmark: how each is started, how it is asked, and which versions run."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from ..errors import LoadtestError
from .protocols import ProductText, RerankProtocol, ScoreProtocol, Speaks

PEER_NAME = "infinity-emb int8"
PEER_BATCH_SIZE = 8
"""The fastest for it on two cores, of 4, 8, 16, 32 (its default) and 64."""
PLAIN_NAME = "plain FastAPI int8"
_ROOT = Path(__file__).parents[2]
_PEERS = Path(__file__).parents[1] / "peers"
_RECIPE = _PEERS / "infinity.py"
_PLAIN = _PEERS / "plain.py"
_PEER_FILES = ("config.json", "tokenizer.json", "model_quantized.onnx")
_PLAIN_FILES = ("tokenizer.json", "model_quantized.onnx")
_OUR_PACKAGES = ("onnxruntime", "tokenizers", "uvicorn", "fastapi", "numpy")
_PEER_PACKAGES = ("infinity-emb", "optimum", "onnxruntime", "torch", "transformers", "uvicorn")
_CHECK_S = 60
# A busy machine may take longer than the service's default limits; a late answer is still a measurement here.
GENEROUS = {"SHELFSCORE_MAX_TIMEOUT_MS": "30000", "SHELFSCORE_MAX_BACKLOG_MS": "30000"}
_PREFIX = "SHELFSCORE_"
_SETTING = re.compile(r"[A-Z][A-Z0-9_]*")
_NOT_THEIRS = ("HOST", "PORT", "MODEL_DIR")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that the benchmark starts. `{port}` in its command line and environment stands for the port."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    speaks: Callable[[ProductText], Speaks]
    versions: Mapping[str, str] = field(default_factory=dict)
    peer: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the service, those that were given for this contestant alone; its environment has them too."""

    @property
    def keeps_scores(self) -> bool:
        """Whether its settings give it a score cache."""
        return self.environment.get(f"{_PREFIX}SCORE_CACHE_BYTES", "0") not in ("", "0")

    def argv_at(self, port: int) -> list[str]:
        """The command line for a port."""
        return [part.replace("{port}", str(port)) for part in self.argv]

    def environment_at(self, port: int) -> dict[str, str]:
        """The environment for a port."""
        return {name: value.replace("{port}", str(port)) for name, value in self.environment.items()}


def named(text: str, what: str) -> tuple[str, str]:
    """Name and value of `NAME=VALUE`.

    Raises:
        LoadtestError: it is none.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise LoadtestError(f"expected NAME={what}, found {text!r}")
    return name, value


def shelfscore(name: str, folder: Path, environment: Mapping[str, str]) -> Contestant:
    """The service beside this package, on an artifact folder. Other SHELFSCORE_ settings are the user's.

    Raises:
        LoadtestError: the folder holds no manifest.
    """
    if not (folder / "manifest.json").is_file():
        raise LoadtestError(f"{folder}: expected an artifact folder with a manifest.json")
    ours = {
        "SHELFSCORE_MODEL_DIR": str(folder.resolve()),
        "SHELFSCORE_HOST": "127.0.0.1",
        "SHELFSCORE_PORT": "{port}",
        **GENEROUS,
    }
    kept = {key: value for key, value in environment.items() if key != "SHELFSCORE_API_KEYS"}
    path = os.pathsep.join(filter(None, [str(_ROOT), kept.get("PYTHONPATH")]))
    return Contestant(
        name=name,
        argv=(sys.executable, "-m", "service"),
        environment={**kept, "PYTHONPATH": path, **ours},
        speaks=lambda _: ScoreProtocol(),
        versions=_installed(_OUR_PACKAGES),
    )


def by_command(name: str, command: str, environment: Mapping[str, str]) -> Contestant:
    """Any server that speaks our contract, started by a command line that holds `{port}`.

    Raises:
        LoadtestError: it does not.
    """
    if "{port}" not in command:
        raise LoadtestError(f"--command {name}: expected {{port}} in the command line, found {command!r}")
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise LoadtestError(f"--command {name}: {error}") from None
    return Contestant(name, argv, environment, lambda _: ScoreProtocol())


def plain(model: Path, environment: Mapping[str, str]) -> Contestant:
    """A plain handler over the peer's folder, in the environment that this runs in.

    Raises:
        LoadtestError: a file of the folder is missing.
    """
    for name in _PLAIN_FILES:
        if not (model / name).is_file():
            raise LoadtestError(f"--plain: {model / name} is missing")
    return Contestant(
        name=PLAIN_NAME,
        argv=(sys.executable, str(_PLAIN), str(model.resolve()), "{port}"),
        environment=environment,
        speaks=RerankProtocol,
        versions=_installed(_OUR_PACKAGES),
    )


def ours(artifacts: Sequence[str], commands: Sequence[str], environment: Mapping[str, str]) -> list[Contestant]:
    """Servers of our contract, from texts NAME=FOLDER and NAME=COMMAND of a command line.

    Raises:
        LoadtestError: a text is neither, or there is none.
    """
    folders = [named(text, "FOLDER") for text in artifacts]
    contestants = [shelfscore(name, Path(folder), environment) for name, folder in folders]
    contestants += [by_command(*named(text, "COMMAND"), environment) for text in commands]
    if not contestants:
        raise LoadtestError("expected at least one --artifact NAME=FOLDER or --command NAME=COMMAND")
    return contestants


def with_settings(contestants: Sequence[Contestant], texts: Sequence[str]) -> list[Contestant]:
    """The same contestants, some of them with settings of their own, from texts NAME:SETTING=VALUE of a command line.

    Raises:
        LoadtestError: a text is none, names nobody, or a setting that the benchmark makes itself.
    """
    made = list(contestants)
    for text in texts:
        left, equals, value = text.partition("=")
        name, _, setting = left.rpartition(":")
        setting = setting.upper()
        if not (name and equals and _SETTING.fullmatch(setting)):
            raise LoadtestError(f"--set: expected NAME:SETTING=VALUE, found {text!r}")
        names = [contestant.name for contestant in made]
        if name not in names:
            raise LoadtestError(f"--set {text}: expected one of {', '.join(names)} before the colon, found {name!r}")
        if setting in _NOT_THEIRS:
            raise LoadtestError(f"--set {text}: {setting} is for the benchmark to set")
        place = names.index(name)
        one = made[place]
        made[place] = replace(
            one,
            environment={**one.environment, f"{_PREFIX}{setting}": value},
            settings={**one.settings, setting: value},
        )
    return made


def infinity(
    python: Path | None, model: Path | None, environment: Mapping[str, str], batch_size: int = PEER_BATCH_SIZE
) -> Contestant | str:
    """The peer, or in words why it is not at hand."""
    if python is None or model is None:
        return f"no {'--peer-python' if python is None else '--peer-model'} given"
    for name in _PEER_FILES:
        if not (model / name).is_file():
            return f"{model / name} is missing"
    outside = {key: value for key, value in environment.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    versions = _peer_versions(python, outside)
    if isinstance(versions, str):
        return versions
    return Contestant(
        name=PEER_NAME,
        argv=(str(python), str(_RECIPE), str(model.resolve()), "{port}", str(batch_size)),
        environment=outside,
        speaks=RerankProtocol,
        versions={**versions, "batch size": str(batch_size)},
        peer=True,
    )


def _peer_versions(python: Path, environment: Mapping[str, str]) -> dict[str, str] | str:
    check = (
        "import importlib.util, json, sys\n"
        "from importlib import metadata\n"
        "sys.exit('no infinity_emb') if importlib.util.find_spec('infinity_emb') is None else None\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = metadata.version(name)\n"
        "    except metadata.PackageNotFoundError: pass\n"
        "print(json.dumps(found))\n"
    )
    command = [str(python), "-c", check, *_PEER_PACKAGES]
    try:
        done = subprocess.run(  # noqa: S603 - the user's own interpreter
            command, env=dict(environment), capture_output=True, text=True, timeout=_CHECK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{python} cannot be run: {error}"
    if done.returncode != 0:
        return f"{python} cannot import infinity_emb"
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _installed(packages: Sequence[str]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions

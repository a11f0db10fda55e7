"""The two worlds of a reproduction as runs of the ordinary pipeline: data, teacher, candidate lists, labels."""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ..config import Config, StudentStage
from ..cross_encoder import check_models
from ..data import prepare as prepare_data
from ..errors import TrainingError
from ..label import label, unlabelled
from ..mining import mine
from ..runs import Run, open_run, read_run
from ..student.human import write_human_lists
from ..tables import list_sizes, shards
from ..teacher import SentenceEncoder, train_teacher
from .plan import Plan
from .steps import Steps
from .world import WorldSettings, facts, make_world, read_products, write_world

WORLD_CONFIG = Path(__file__).with_name("world.toml")
HUMAN_CONFIG = Path(__file__).parent.parent / "configs" / "cross-encoder.toml"
CATALOGUE = "icecat_products.csv.gz"


def world_settings(scale: float) -> WorldSettings:
    """Sizes of the controlled world; a scaled one keeps enough judged queries to train and test on."""
    full = WorldSettings()
    if scale >= 1:
        return replace(full, unlabelled_queries=round(full.unlabelled_queries * scale))
    return replace(
        full,
        train_queries=max(20, round(full.train_queries * scale)),
        test_queries=max(30, round(full.test_queries * scale)),
        unlabelled_queries=max(40, round(full.unlabelled_queries * scale)),
    )


def write_controlled_world(catalogue: Path, encoder: str, settings: WorldSettings, folder: Path) -> dict[str, Any]:
    """Makes the controlled world from a catalogue into a folder, and says what it is like."""
    products = read_products(catalogue)
    world = make_world(products, SentenceEncoder(encoder, "auto").vectors, settings)
    write_world(world, folder)
    return facts(world)


def controlled_run(folder: Path, data: Path, config: Config, plan: Plan, settings: WorldSettings, steps: Steps) -> Run:
    """The run of the controlled world, whose data are made on the first call."""
    made = folder / "data"
    steps.once("world", lambda: write_controlled_world(data / CATALOGUE, config.encoder, settings, made))
    return open_run(folder / "run", _for_students(config, plan), made)


def human_run(folder: Path, data: Path, config: Config, plan: Plan, existing: Path | None) -> Run:
    """The run over human judgements: an existing one as it is, or one of its own."""
    if existing is not None:
        return read_run(existing, data)
    return open_run(folder / "run", _for_students(config, plan), data)


def _for_students(config: Config, plan: Plan) -> Config:
    """The configuration with as many mined and labelled lists as the largest student may need."""
    quotas = sum(sum(pool.model_dump().values()) for pool in config.mining.pools.values())
    # lists are a little shorter than the quotas: products are found in more ways than one
    lists = -(-plan.sizes[-1] * 5 // (4 * quotas))
    stage = StudentStage(labels="teacher", fit=config.student.stages[-1].fit, max_lists=lists)
    student = config.student.model_copy(update={"stages": (stage,)})
    mining = config.mining.model_copy(update={"max_queries": lists})
    return Config.model_validate(config.model_copy(update={"student": student, "mining": mining}).model_dump())


def prepare(run: Run, steps: Steps, label_command: str | None, finished: bool) -> list[int]:
    """Brings a run to labelled lists and human lists.

    Args:
        run: the run.
        steps: gets teacher, mine, label.
        label_command: labels in place of this process, such as `python -m export label`; gets the run's folder and
            `--data` with the folder of its data.
        finished: the run is another's, finished: it is read and never written to, but for the human lists.

    Returns:
        The number of pairs of each labelled list, in order.
    """
    if not finished:
        check_models(run.config)
        with run.locked():
            prepare_data(run)
            steps.once("teacher", lambda: _nothing(train_teacher(run)))
            steps.once("mine", lambda: _nothing(mine(run)) | {"pairs": _rows(shards(run.mined))})
            if label_command is None:
                steps.once("label", lambda: _nothing(label(run)) | _labelled(run))
        if label_command is not None:
            command = [*shlex.split(label_command), str(run.folder), "--data", str(run.data)]
            steps.once("label", lambda: _call(command, run) | _labelled(run))
    write_human_lists(run)
    return labelled_sizes(run)


def labelled_sizes(run: Run) -> list[int]:
    """The number of pairs of each list that the teacher labelled, in order.

    Raises:
        TrainingError: there is none.
    """
    sizes: list[int] = list_sizes(run.labelled("teacher")).tolist()
    if not sizes:
        raise TrainingError(f"{run.folder}: holds no lists labelled by a teacher; run its stage `label` first")
    return sizes


def _labelled(run: Run) -> dict[str, Any]:
    return {"pairs": _rows(shards(run.labelled("teacher")))}


def _call(command: list[str], run: Run) -> dict[str, Any]:
    """Runs the labelling command; its Python is this one where it says only `python`."""
    if command[0] == "python":
        command = [sys.executable, *command[1:]]
    code = subprocess.run(command, check=False).returncode  # noqa: S603
    if code:
        raise TrainingError(f"labelling by `{shlex.join(command)}` ended with exit code {code}; see its message above")
    if any(unlabelled(run).values()):
        raise TrainingError(f"`{shlex.join(command)}` left shards of {run.folder} without labels; run it again")
    return {"command": shlex.join(command)}


def _rows(paths: list[Path]) -> int:
    return sum(pq.read_metadata(path).num_rows for path in paths)


def _nothing(_: object) -> dict[str, Any]:
    return {}

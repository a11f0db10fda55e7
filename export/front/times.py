"""What a request of 64 products takes each of several students in their graphs, int8, on all lanes, in turn."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from artifact import Artifact, ArtifactError, load_artifact
from training.cross_encoder import TEMPLATE_FILE, read_template
from training.errors import TrainingError

from ..compile import Say
from ..errors import ExportError
from ..plain import export_plain
from ..runtime import Feeds, logits_of, open_session
from ..split.latency import product_states, text_feeds
from ..split.runtime import SPECIAL, SplitModel, gathered
from ..timing import in_turn
from ..workload import Lanes

INT8 = "cpu-int8"
PRODUCTS, PRODUCT_TOKENS, QUERY_TOKENS = 64, 30, 6
MICRO_BATCH = 8
CALIBRATION_PAIRS = 64
"""Of made-up texts: what the integers mean does not change how long they take."""

ONLINE, COLD = "online", "cold"


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of every round.

    Attributes:
        online: with the states of products known, where there are any.
        cold: with no product seen before.
        state_bytes: kept of a product; 0 of a cross-encoder.
    """

    online: tuple[float, ...]
    cold: tuple[float, ...]
    state_bytes: int


def measure_times(students: Mapping[str, Path], artifacts: Path, rounds: int, say: Say) -> dict[str, Times]:
    """Exports each student with made-up texts, unless `artifacts` has it already, and times all of them in turn.

    Args:
        students: checkpoint folders by name.
        artifacts: gets one artifact each, by the name of the checkpoint's folder.

    Raises:
        ExportError: a checkpoint cannot be read or exported.
    """
    team = Lanes(len(os.sched_getaffinity(0)))
    work: dict[str, Callable[[], object]] = {}
    kept = {}
    for name, folder in students.items():
        artifact = _exported(name, folder, artifacts / folder.name, say)
        timed, kept[name] = (_split if artifact.manifest.architecture == "split" else _cross_encoder)(artifact, team)
        work |= {f"{name}\n{case}": call for case, call in timed.items()}
    say(f"timing {rounds} rounds of {len(students)} students ...")
    seconds = in_turn(work, rounds)
    return {
        name: Times(tuple(seconds[f"{name}\n{ONLINE}"]), tuple(seconds[f"{name}\n{COLD}"]), kept[name])
        for name in students
    }


def _exported(name: str, folder: Path, out: Path, say: Say) -> Artifact:
    try:
        return load_artifact(out)
    except ArtifactError:
        say(f"exporting {name} ...")
    try:
        template = read_template(folder / TEMPLATE_FILE)
    except (TrainingError, OSError) as error:
        raise ExportError(f"{folder}: expected a finished student: {error}") from error
    export_plain(folder, out, name, "2000-01-01", template, variants=(INT8,), say=say, pairs=CALIBRATION_PAIRS)
    return load_artifact(out)


def _split(artifact: Artifact, team: Lanes) -> tuple[dict[str, Callable[[], object]], int]:
    variant = artifact.manifest.variants[0]
    model, vocab_size = SplitModel.read(artifact.folder, variant), artifact.manifest.tokenizer.vocab_size
    asked = text_feeds(1, QUERY_TOKENS + SPECIAL, vocab_size)
    state = product_states(model, PRODUCT_TOKENS, vocab_size)
    shares = [gathered([state] * len(part)) for part in np.array_split(np.arange(PRODUCTS), team.count)]
    texts = [text_feeds(MICRO_BATCH, PRODUCT_TOKENS + SPECIAL, vocab_size)] * (PRODUCTS // MICRO_BATCH)

    def interact(query: Feeds, products: Feeds) -> None:
        model.interact({**query, **products})

    def online() -> None:
        team.run(partial(interact, model.encode_query(asked)), shares)

    def cold() -> None:
        team.run(model.encode_products, texts)
        online()

    return {ONLINE: online, COLD: cold}, state.nbytes


def _cross_encoder(artifact: Artifact, team: Lanes) -> tuple[dict[str, Callable[[], object]], int]:
    run = logits_of(open_session(artifact.variant_path(INT8).read_bytes()))
    special = artifact.manifest.template.pair_format.special_tokens
    length = QUERY_TOKENS + PRODUCT_TOKENS + special
    feeds = dict(text_feeds(MICRO_BATCH, length, artifact.manifest.tokenizer.vocab_size))
    types = np.zeros_like(feeds["input_ids"])
    types[:, QUERY_TOKENS + special - 1 :] = 1
    batches = [{**feeds, "token_type_ids": types}] * (PRODUCTS // MICRO_BATCH)
    work = partial(team.run, run, batches)
    return {ONLINE: work, COLD: work}, 0

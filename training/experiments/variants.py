"""Students of several shapes on the same labelled pairs of a finished run, measured on the same test pairs."""

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ..config import Optimisation, Split, StudentStage
from ..config.settings import Settings
from ..data import read_all_judgements
from ..errors import TrainingError
from ..runs import Run, read_json, replacing, write_json
from ..split import Shared
from ..student import read_student
from ..teacher import read_teacher, similarity_of
from .material import Material
from .measure import agreement, measure_models
from .plan import first_lists
from .steps import Say, Steps
from .worlds import labelled_sizes

VARIANTS_FILE = Path(__file__).with_name("variants.toml")
RESULTS_FILE = "variants.json"
SETTINGS_FILE = "settings.json"
SHARED_FOLDER = "shared"
TEACHER = "teacher"


class Variant(Settings):
    """One student."""

    name: str = Field(min_length=1, pattern=r"^[a-z0-9][a-z0-9 .+-]*$")
    layers: tuple[int, ...]
    split: Split | None = None
    learning_rate: float = Field(gt=0)


class Variants(Settings):
    """What is compared.

    Attributes:
        reference: name of the one that the others are compared with.
    """

    reference: str
    variants: tuple[Variant, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of variants on one run.

    Attributes:
        run: finished up to its labels.
        out: folder of students, scores and results.
        pairs: labelled pairs that each learns from: the first lists that hold so many.
        epochs: over them.
        batch_pairs: of a step.
        others: finished students that are measured beside the variants, by name. How they were trained is their own
            business.
    """

    run: Run
    out: Path
    pairs: int = 100_000
    epochs: float = 2.0
    batch_pairs: int = 64
    others: Mapping[str, Path] = field(default_factory=dict)


def read_variants(path: Path) -> Variants:
    """Reads a file of variants.

    Raises:
        TrainingError: naming the field at fault.
    """
    try:
        variants = Variants.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise TrainingError(f"{path}: {error}") from error
    names = [variant.name for variant in variants.variants]
    if len(set(names)) < len(names):
        raise TrainingError(f"{path}: every variant needs a name of its own")
    return variants


def compare_variants(what: Comparison, variants: Variants, names: Sequence[str], say: Say) -> Path | None:
    """Trains and measures the variants that are not yet.

    Args:
        what: on which run.
        variants: all of them.
        names: train and score just these, beside other processes; empty: all, and measure them.
        say: prints a line.

    Returns:
        The file of results; None where `names` are given.

    Raises:
        TrainingError: a name is unknown, or training fails.
    """
    present = {variant.name for variant in variants.variants}
    if unknown := sorted(set(names) - present):
        raise TrainingError(f"there is no variant {', '.join(unknown)}")
    if not names and variants.reference not in present | set(what.others):
        raise TrainingError(f"the reference, {variants.reference}, is neither a variant nor a student given by --also")
    if twice := sorted(present & set(what.others)):
        raise TrainingError(f"{', '.join(twice)}: is a variant already; give the student of --also another name")
    steps = Steps(what.out / "steps", say)
    material = Material.of(what.run)
    lists, pairs = first_lists(labelled_sizes(what.run), what.pairs)
    test = [pair for pair in read_all_judgements(what.run.data, what.run.config.data) if pair.split == "test"]
    texts = [(pair.query, pair.product) for pair in test]
    shared = Shared(what.out / SHARED_FOLDER, say)
    scores: dict[str, NDArray[np.float64]] = {}
    rows = []
    for variant in variants.variants:
        if names and variant.name not in names:
            continue
        path = what.out / "scores" / f"{_stem(variant)}.npy"
        train = partial(_train_and_score, what, material, variant, lists, texts, path, shared)
        found = steps.once(_stem(variant), train)
        _check_settings(variant, found, what, path)
        rows.append({"name": variant.name, **found})
        scores[variant.name] = np.load(path)
    if names:
        return None
    shutil.rmtree(what.out / SHARED_FOLDER, ignore_errors=True)
    for name, folder in what.others.items():
        scores[name] = np.asarray(read_student(folder).logits(texts), np.float64)
    teacher = what.out / "scores" / f"{TEACHER}.npy"
    steps.once(TEACHER, lambda: _keep(read_teacher(what.run, similarity_of(what.run))(texts), teacher))
    scores[TEACHER] = np.load(teacher)
    references = {name: [other for other in (variants.reference, TEACHER) if other != name] for name in scores}
    results = {
        "pairs": pairs,
        "lists": lists,
        "epochs": what.epochs,
        "reference": variants.reference,
        "variants": rows,
        "others": {name: str(folder) for name, folder in what.others.items()},
        "metrics": measure_models(test, what.run.config.data, scores, references),
        "agreement": agreement(test, scores, TEACHER),
    }
    write_json(what.out / RESULTS_FILE, results)
    return what.out / RESULTS_FILE


def _stem(variant: Variant) -> str:
    return variant.name.replace(" ", "-")


def _settings(variant: Variant, what: Comparison) -> dict[str, Any]:
    shown = variant.model_dump(mode="json", exclude={"name"})
    return {**shown, "asked_pairs": what.pairs, "epochs": what.epochs, "batch_pairs": what.batch_pairs}


def _train_and_score(
    what: Comparison,
    material: Material,
    variant: Variant,
    lists: int,
    texts: Sequence[tuple[str, Any]],
    path: Path,
    shared: Shared,
) -> dict[str, Any]:
    fit = Optimisation(learning_rate=variant.learning_rate, epochs=what.epochs, batch_pairs=what.batch_pairs)
    settings = material.settings.model_copy(update={"layers": variant.layers, "split": variant.split})
    own = Material(settings, material.sources, material.seed)
    work, out = what.out / "work" / _stem(variant), what.out / "students" / _stem(variant)
    begun = work / SETTINGS_FILE
    if begun.exists() and read_json(begun) != _settings(variant, what):
        # What was begun with other settings is not gone on with.
        shutil.rmtree(work)
    write_json(begun, _settings(variant, what))
    stage = StudentStage(labels="teacher", fit=fit, max_lists=lists)
    own.fit(stage, work, out, shared=shared)
    shutil.rmtree(work)
    return {**_settings(variant, what), **_keep(read_student(out).logits(texts), path)}


def _keep(values: NDArray[np.floating[Any]], path: Path) -> dict[str, Any]:
    with replacing(path) as new, new.open("wb") as file:
        np.save(file, np.asarray(values, np.float64))
    return {"test_pairs": len(values)}


def _check_settings(variant: Variant, found: dict[str, Any], what: Comparison, path: Path) -> None:
    """A finished variant must not be reported with settings that it was not trained with."""
    for key, value in _settings(variant, what).items():
        if found.get(key) != value:
            raise TrainingError(
                f"{what.out}: {variant.name} was trained with {key} {found.get(key)}, and {value} is asked: choose "
                f"another --out, or delete steps/{path.stem}.json and its student"
            )

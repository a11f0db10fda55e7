"""Where a run's student comes from, in the manifest's words."""

from collections import Counter
from pathlib import Path
from typing import Any

from artifact import DataSet, Lineage

from .config import Catalogue, Judgements, StudentStage
from .data import judged_batches, row_counts
from .data.prepare import catalogue_path, queries_path
from .mining import weak_pairs
from .mining.weak_labels import SOURCE as WEAK_SOURCE
from .runs import Run
from .student.student import UNANCHORED
from .tables import list_sizes


def lineage(run: Run) -> Lineage:
    """The lineage of a finished run, with data sets counted as they were read."""
    config, data, facts = run.config, run.config.data, run.facts()
    judged = Counter(source for batch in judged_batches(run, "train") for source in batch["source"].to_pylist())
    data_sets = [
        DataSet(
            name=source.name,
            rows=judged[source.name],
            licence=source.licence,
            role="human grades of the training split, for the teacher and the calibration",
        )
        for source in data.judgements
    ]
    data_sets += _weak(run)
    for catalogue in data.catalogues:
        rows = _rows(run, catalogue_path(run, catalogue.name))
        role = "products" if catalogue.pool is None else "products, mined for unlabelled pairs"
        data_sets.append(DataSet(name=catalogue.name, rows=rows, licence=catalogue.licence, role=role))
    for queries in data.queries:
        rows = _rows(run, queries_path(run, queries.name))
        data_sets.append(DataSet(name=queries.name, rows=rows, licence=queries.licence, role="unlabelled queries"))
    return Lineage(
        teacher=config.teacher.summary,
        student_init=f"{config.student.init}, layers {', '.join(map(str, config.student.layers))}",
        loss=", then ".join(_stage(run, stage) for stage in config.student.stages),
        seed=facts["seed"],
        commit=_commit(facts),
        created=facts["created"],
        data_sets=tuple(data_sets),
        durations_s=facts["durations_s"],
    )


def _stage(run: Run, stage: StudentStage) -> str:
    anchored = stage.loss not in UNANCHORED and run.config.student.pointwise_weight
    anchor = f" plus {anchored:g} times pointwise" if anchored else ""
    pairs = _pairs(run, stage)
    return f"{stage.loss} loss{anchor} on {pairs:,} pairs labelled by {stage.labels}, {stage.fit.epochs:g} epochs"


def _weak(run: Run) -> list[DataSet]:
    """Grades that were made, if the configuration asks for them, under the licence of what they were made from."""
    settings = run.config.mining.weak_labels
    if settings is None:
        return []
    sources: list[Catalogue | Judgements] = [*run.config.data.catalogues, *run.config.data.judgements]
    licences = dict.fromkeys(source.licence for source in sources if source.pool == settings.pool)
    role = f"grades made from the attributes of pool {settings.pool}, for the teacher and the calibration"
    rows = sum(1 for _ in weak_pairs(run))
    return [DataSet(name=WEAK_SOURCE, rows=rows, licence=", ".join(licences), role=role)]


def _rows(run: Run, path: Path) -> int:
    return row_counts(run)[str(path.relative_to(run.folder / "data"))]


def _commit(facts: dict[str, Any]) -> str | None:
    """The commit of all stages, or each stage's where they differ."""
    commits = facts.get("commits") or {"all": facts.get("commit")}
    if len(set(commits.values())) == 1:
        one: str | None = next(iter(commits.values()))
        return one
    return ", ".join(f"{stage} {commit or 'unknown'}" for stage, commit in commits.items())


def _pairs(run: Run, stage: StudentStage) -> int:
    sizes = list_sizes(run.labelled(stage.labels))[stage.skip_lists :]
    return int(sizes[: stage.max_lists].sum())

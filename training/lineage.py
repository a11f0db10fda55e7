"""Where a run's student comes from, in the manifest's words."""

from typing import Any

from artifact import DataSet, Lineage

from .data import read_all_judgements, read_catalogue, read_queries
from .runs import Run
from .tables import read_lists


def lineage(run: Run) -> Lineage:
    """The lineage of a finished run, with data sets counted as they were read."""
    config, data, facts = run.config, run.config.data, run.facts()
    judged = [pair for pair in read_all_judgements(run.data, data) if pair.split == "train"]
    data_sets = [
        DataSet(
            name=source.name,
            rows=sum(pair.source == source.name for pair in judged),
            licence=source.licence,
            role="human grades of the training split, for the teacher and the calibration",
        )
        for source in data.judgements
    ]
    for catalogue in data.catalogues:
        rows = len(read_catalogue(run.data, catalogue))
        role = "products" if catalogue.pool is None else "products, mined for unlabelled pairs"
        data_sets.append(DataSet(name=catalogue.name, rows=rows, licence=catalogue.licence, role=role))
    for queries in data.queries:
        rows = len(read_queries(run.data, queries))
        data_sets.append(DataSet(name=queries.name, rows=rows, licence=queries.licence, role="unlabelled queries"))
    stages = ", then ".join(
        f"{_pairs(run, stage.labels, stage.max_lists):,} mined pairs by {stage.labels}, {stage.fit.epochs:g} epochs"
        for stage in config.student.stages
    )
    return Lineage(
        teacher=f"{config.teacher.model} as a cross-encoder plus cosine and MaxSim, fine-tuned on soft targets",
        student_init=f"{config.student.init}, layers {', '.join(map(str, config.student.layers))}",
        loss=f"margin loss plus {config.student.pointwise_weight:g} times pointwise; labels: {stages}",
        seed=facts["seed"],
        commit=_commit(facts),
        created=facts["created"],
        data_sets=tuple(data_sets),
        durations_s=facts["durations_s"],
    )


def _commit(facts: dict[str, Any]) -> str | None:
    """The commit of all stages, or each stage's where they differ."""
    commits = facts.get("commits") or {"all": facts.get("commit")}
    if len(set(commits.values())) == 1:
        one: str | None = next(iter(commits.values()))
        return one
    return ", ".join(f"{stage} {commit or 'unknown'}" for stage, commit in commits.items())


def _pairs(run: Run, labels: str, max_lists: int | None) -> int:
    lists = enumerate(read_lists(run.labelled(labels)))
    return sum(len(entry.candidates) for i, entry in lists if max_lists is None or i < max_lists)

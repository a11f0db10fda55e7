"""Human judgements as lists, for students that learn from them directly."""

from ..runs import Run
from ..tables import Candidate, CandidateList, shards, write_shard
from ..teacher.teacher import human_pairs

JUDGED_BY = "judges"


def write_human_lists(run: Run) -> None:
    """Writes the judged training pairs as one shard of lists with soft targets, unless it is there."""
    folder = run.labelled("human")
    if shards(folder):
        return
    queries: dict[str, list[Candidate]] = {}
    for pair in human_pairs(run):
        candidate = Candidate(dict(pair.product), JUDGED_BY, target=pair.target)
        queries.setdefault(pair.query, []).append(candidate)
    lists = [CandidateList(i, query, tuple(found)) for i, (query, found) in enumerate(queries.items())]
    write_shard(folder / "00000.parquet", lists)

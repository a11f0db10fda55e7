"""Human judgements as lists, for students that learn from them directly."""

import shutil
from pathlib import Path

import numpy as np

from ..runs import Run
from ..tables import Candidate, CandidateList, shards, write_shard
from ..teacher import Judged

JUDGED_BY = "judges"
LISTS_PER_SHARD = 500


def write_human_lists(run: Run) -> None:
    """Writes the judged training pairs as shards of lists with soft targets, all or none, unless they are there.

    Lists are in the order in which their queries appear. Memory: the pairs as `Judged` holds them, and one shard.
    """
    folder = run.labelled("human")
    if shards(folder):
        return
    unfinished = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _write(Judged.read(run), unfinished)
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _write(judged: Judged, folder: Path) -> None:
    queries = judged.queries.combine_chunks().dictionary_encode()
    codes = queries.indices.to_numpy()  # given in order of appearance
    rows, ends = np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))
    for number, first in enumerate(range(0, len(ends), LISTS_PER_SHARD)):
        own = rows[ends[first - 1] if first else 0 : ends[first : first + LISTS_PER_SHARD][-1]]
        lists: dict[int, tuple[str, list[Candidate]]] = {}
        pairs = zip(codes[own].tolist(), judged.texts(own), judged.targets[own].tolist(), strict=True)
        for code, (query, product), target in pairs:
            lists.setdefault(code, (query, []))[1].append(Candidate(product, JUDGED_BY, target=target))
        found = [CandidateList(code, query, tuple(candidates)) for code, (query, candidates) in lists.items()]
        write_shard(folder / f"{number:05d}.parquet", found)

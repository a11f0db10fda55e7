"""Labelled lists that a student can learn: each query names one product of all kinds and colours."""

from training.tables import Candidate, CandidateList, write_shard

KINDS = ("lamp", "mouse", "tripod", "headset")


def write_lists(path):
    """Forty lists in which the product that the query names is the best by far; targets beside the logits."""
    lists = [
        CandidateList(
            i,
            f"{KINDS[i % 4]} red",
            tuple(
                Candidate({"title": f"acme {kind} {colour}"}, "here", 3.0 if good else -3.0, 1.0 if good else 0.0)
                for kind in KINDS
                for colour in ("red", "black")
                for good in [kind == KINDS[i % 4] and colour == "red"]
            ),
        )
        for i in range(40)
    ]
    write_shard(path, lists)
    return path

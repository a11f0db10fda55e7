"""From a split student to checked variants: fp32, measured ranges, int8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from artifact import StateLayout

from ..attention import Spelling
from ..compile import Say
from ..errors import ExportError
from ..faithful import MAX_NDCG_LOSS, MIN_PAIRS, Faithfulness, Lists
from ..graph import Arithmetic, Float32, Floats, Observed, serialise
from ..parity import Precision
from ..quantise import Int8, Scheme
from ..ranges import Measured, measure
from ..runtime import Encoded, Feeds, Pair, Rows
from ..schemes import Choice, Search
from .checkpoint import PARTS, Built, Part, SplitCheckpoint
from .parity import check_against_student, check_as_written
from .runtime import SplitModel, SplitPairs, Texts
from .shape import States

SPELLING: Spelling = "fused"
"""Of the encoders' attention: the faster one of cross-encoders on every processor that was measured."""


@dataclass(frozen=True, slots=True)
class CompiledSplit:
    """One variant: its ONNX bytes, open sessions, and what was chosen by measuring."""

    name: str
    precision: Precision
    graphs: Mapping[Part, bytes]
    model: SplitModel
    states: StateLayout
    choices: Mapping[str, str]


def compile_split_fp32(
    checkpoint: SplitCheckpoint, parity_pairs: Sequence[Pair], say: Say, spelling: Spelling | None = None
) -> tuple[CompiledSplit, float]:
    """The fp32 variant and its largest difference from torch.

    Raises:
        ExportError: it differs from torch by more than 1e-4, or operators are not as expected.
    """
    built = checkpoint.build(lambda _: Float32(), "fp32", spelling or SPELLING)
    compiled = _compiled("cpu-fp32", "fp32", checkpoint, built, spelling)
    worst = check_against_student(checkpoint.student, compiled.model, parity_pairs)
    say(f"fp32 agrees with torch to {worst:.1g} on {len(parity_pairs)} pairs")
    return compiled, worst


def compile_split_int8(
    checkpoint: SplitCheckpoint,
    fp32: CompiledSplit,
    range_pairs: Sequence[Pair],
    choice_pairs: Sequence[Pair],
    say: Say,
    spelling: Spelling | None = None,
    lists: Lists[SplitModel] | None = None,
) -> tuple[CompiledSplit, Choice]:
    """The static int8 variant with the scheme that comes closest to fp32, one for all three graphs.

    Args:
        range_pairs: activations are measured on these.
        choice_pairs: the way of setting ranges with the smallest logit error on these is taken.
        spelling: of the encoders' attention.
        lists: what int8 must rank as fp32 does. None: that is not asked.

    Raises:
        ExportError: no scheme does, or operators are not as expected.
    """
    tokenizer = checkpoint.student.tokenizer
    observed = {part: Observed() for part in PARTS}
    exposed = checkpoint.build(lambda part: observed[part], "fp32", spelling or SPELLING, expose_taps=True)
    weights = {_tag(part, tag): found for part in PARTS for tag, found in observed[part].weights.items()}
    say(f"measuring {len(weights)} activation ranges on {len(range_pairs)} pairs")
    rows = _rows(SplitPairs(tokenizer, range_pairs), fp32.model, checkpoint.shared)
    sources = SplitModel({part: serialise(model) for part, (model, _) in exposed.items()})

    def measured(divisors: Mapping[str, Floats]) -> dict[str, Measured]:
        found = {}
        for part in PARTS:
            own = _of_part(divisors, part)
            taps = exposed[part][1]
            if taps:
                each = measure(sources.sessions[part], taps, rows[part], own)
                found.update({_tag(part, tag): value for tag, value in each.items()})
        return found

    def built(scheme: Scheme) -> Built:
        return checkpoint.build(partial(_arithmetic, scheme), "int8", spelling or SPELLING)

    def model(scheme: Scheme) -> SplitModel:
        return SplitModel({part: serialise(each) for part, (each, _) in built(scheme).items()})

    choice = Search(model, measured, weights, fp32.model, SplitPairs(tokenizer, choice_pairs), lists, say).run()
    say(f"int8 by {choice}")
    compiled = _compiled("cpu-int8", "int8", checkpoint, built(choice.scheme), spelling)
    return replace(compiled, choices={**compiled.choices, **choice.choices()}), choice


def check_states(checkpoint: SplitCheckpoint, fp32: CompiledSplit, lists: Lists[SplitModel], say: Say) -> Faithfulness:
    """How lists are ranked by int8 states alone, everything else in fp32.

    Raises:
        ExportError: they lose more than .002 nDCG, over lists that are enough to tell.
    """
    built = checkpoint.build(lambda _: Float32(), "int8")
    model = SplitModel({part: serialise(each) for part, (each, _) in built.items()})
    found = lists.compare(lists.pairs.logits(fp32.model), lists.pairs.logits(model))
    say(f"int8 states, the rest in fp32: {found}")
    if found.ndcg_loss > MAX_NDCG_LOSS:
        lost = f"int8 states alone do not rank as fp32 states do: {found}; at most {MAX_NDCG_LOSS} nDCG may be lost"
        if found.pairs >= MIN_PAIRS:
            raise ExportError(f"{lost}: serve cpu-fp32 (--variants cpu-fp32), or train with wider states")
        say(f"warning: {lost}, but fewer than {MIN_PAIRS} pairs do not tell")
    return found


class _OneByOne(Encoded):
    """What a graph reads of each query or pair."""

    micro_batch = 1

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        super().__init__(np.ones(len(feeds), np.int64))
        self._feeds = feeds

    def feeds(self, rows: Rows) -> Feeds:
        (row,) = rows
        return self._feeds[row]


def _rows(pairs: SplitPairs, model: SplitModel, shared: bool) -> dict[Part, Encoded]:
    """What each graph reads of the pairs, which are few."""
    queries = Texts(pairs.tokenizer, pairs.queries, alone=True)
    return {
        "product": Texts(pairs.tokenizer, [*pairs.products, *(pairs.queries if shared else ())]),
        "query": _OneByOne([model.read_by_query(queries.feeds([row])) for row in range(len(queries))]),
        "interaction": _OneByOne(pairs.runs(model)),
    }


def _compiled(
    name: str, precision: Precision, checkpoint: SplitCheckpoint, built: Built, spelling: Spelling | None
) -> CompiledSplit:
    graphs = {part: serialise(model) for part, (model, _) in built.items()}
    for part, model in graphs.items():
        check_as_written(part, model)
    states: States = "int8" if precision == "int8" else "fp32"
    choices = {"attention": spelling or SPELLING}
    return CompiledSplit(name, precision, graphs, SplitModel(graphs), checkpoint.states(states), choices)


def _arithmetic(scheme: Scheme, part: Part) -> Arithmetic:
    prefix = _tag(part, "")
    kept = frozenset(tag.removeprefix(prefix) for tag in scheme.kept if tag.startswith(prefix))
    return Int8(Scheme(_of_part(scheme.ranges, part), _of_part(scheme.smoothing, part), kept))


def _of_part(values: Mapping[str, Any], part: Part) -> dict[str, Any]:
    """Those whose tag is of one graph, under the tag that it has there."""
    prefix = _tag(part, "")
    return {tag.removeprefix(prefix): value for tag, value in values.items() if tag.startswith(prefix)}


def _tag(part: Part, tag: str) -> str:
    """An operand's name among those of all three graphs."""
    return f"{part} {tag}"

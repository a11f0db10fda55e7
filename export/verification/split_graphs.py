"""What the three graphs of a split model must read and give."""

from collections.abc import Mapping

from onnx import ModelProto, TensorProto, TypeProto

from artifact import StateLayout

from ..bert import OUTPUT
from ..errors import ExportError
from ..split import names
from ..split.checkpoint import Part
from ..split.states import KINDS
from .checks import Finding
from .graphs import tensors_of

Kinds = dict[str, tuple[int, int | None, int]]
"""Name -> element type, last dimension where it is known, number of dimensions."""


def check_split_signature(models: Mapping[Part, ModelProto], states: StateLayout) -> Finding:
    """Refuses inputs and outputs that are not a split model's, and an interaction that the encoders do not feed.

    Raises:
        ExportError: saying what was found and what was expected.
    """
    kind = KINDS[states.precision]
    texts: Kinds = dict.fromkeys(names.TEXT_INPUTS, (TensorProto.INT64, None, 2))
    products: Kinds = {
        names.TOKENS: (kind, states.width, 3),
        names.SCALES: (TensorProto.FLOAT, None, 2),
        names.POOLED: (kind, states.pooled_width, 2),
        names.POOLED_SCALES: (TensorProto.FLOAT, None, 1),
    }
    width = states.pooled_width
    of_query = tensors_of(models["query"].graph.output)
    asked = texts
    if names.STATES in tensors_of(models["query"].graph.input):  # both sides share an encoder
        asked = {names.STATES: (TensorProto.FLOAT, width, 3)}
    query = {name: (TensorProto.FLOAT, _last(tensor), len(tensor.shape.dim)) for name, tensor in of_query.items()}
    lengths: Kinds = {names.LENGTHS: (TensorProto.INT64, None, 1)}
    expected: dict[Part, tuple[Kinds, Kinds]] = {
        "product": (texts, products if asked is texts else {**products, **asked}),
        "query": (asked, query),
        "interaction": ({**query, **products, **lengths}, {OUTPUT: (TensorProto.FLOAT, 1, 2)}),
    }
    told = []
    for part, model in models.items():
        given = {tensor.name for tensor in model.graph.initializer}
        inputs = {name: each for name, each in tensors_of(model.graph.input).items() if name not in given}
        outputs = tensors_of(model.graph.output)
        for what, found, wanted in zip(("inputs", "outputs"), (inputs, outputs), expected[part], strict=True):
            _check(f"{part} graph, {what}", found, wanted)
        told.append(f"{part}: {', '.join(inputs)} -> {', '.join(outputs)}")
    return Finding("; ".join(told), {"inputs": {part: list(expected[part][0]) for part in models}})


def _check(what: str, found: Mapping[str, TypeProto.Tensor], wanted: Kinds) -> None:
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    wrong = [name for name in wanted.keys() & found.keys() if not _fits(found[name], wanted[name])]
    if missing or unknown or wrong:
        raise ExportError(
            f"{what}: expected {', '.join(wanted)}; missing {', '.join(missing) or 'none'}, unknown "
            f"{', '.join(unknown) or 'none'}, of another type or shape {', '.join(sorted(wrong)) or 'none'}: the "
            "service cannot feed it, export it again"
        )


def _fits(tensor: TypeProto.Tensor, wanted: tuple[int, int | None, int]) -> bool:
    kind, last, dimensions = wanted
    right = tensor.elem_type == kind and len(tensor.shape.dim) == dimensions
    return right and (last is None or _last(tensor) == last)


def _last(tensor: TypeProto.Tensor) -> int | None:
    """The last dimension, None where it has a name."""
    return tensor.shape.dim[-1].dim_value or None if tensor.shape.dim else None

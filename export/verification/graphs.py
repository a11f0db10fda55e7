"""What can be told of an ONNX file without running it: where its weights are, its operators, inputs and outputs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from artifact.self_contained import check_self_contained

from ..bert import INPUTS, OUTPUT
from ..errors import ExportError
from ..graph import MICROSOFT
from .checks import Finding

DOMAINS = {"": "ONNX", "ai.onnx": "ONNX", MICROSOFT: "ONNX Runtime"}
"""Domains of operators that an installation of ONNX Runtime brings, without libraries of anybody's own."""

IDS = INPUTS[0]
INTEGERS = (TensorProto.INT64, TensorProto.INT32)
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
NAMES_SHOWN = 3


def read_graph(path: Path) -> ModelProto:
    """The model, tensors of other files left alone.

    Raises:
        ExportError: it is no ONNX model.
    """
    try:
        model: ModelProto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's exceptions share no base class of their own
        raise ExportError(f"{path}: expected an ONNX model: {error}; export it again") from error
    return model


def check_external_data(path: Path, model: ModelProto) -> Finding:
    """Refuses weights outside the file.

    Raises:
        ExportError: naming tensors and where each is said to be.
        ArtifactError: as `load_artifact` refuses them.
    """
    tensors = list(_tensors(model))
    outside = {
        tensor.name: next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        for tensor in tensors
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data
    }
    if outside:
        shown = ", ".join(f"{name[:40]!r} in {place[:80]!r}" for name, place in list(outside.items())[:NAMES_SHOWN])
        raise ExportError(
            f"{path}: expected all weights inside this file, found {shown} ({len(outside)} of {len(tensors)} "
            "tensors in other files): do not serve it; export it with its weights inside"
        )
    check_self_contained(path)
    return Finding(f"all {len(tensors)} tensors are inside the file", {"tensors": len(tensors)})


def check_operators_known(path: Path, model: ModelProto) -> Finding:
    """Refuses operators that ONNX Runtime does not bring.

    Raises:
        ExportError: naming operators and domains.
    """
    nodes = [*_nodes(model.graph), *(node for function in model.functions for node in _nodes(function))]
    foreign = sorted({f"{node.domain}::{node.op_type}" for node in nodes if node.domain not in DOMAINS})
    if foreign:
        raise ExportError(
            f"{path}: expected operators of ONNX and {MICROSOFT} alone, found {', '.join(foreign[:NAMES_SHOWN])}: they "
            "run code that the artifact does not hold; export without them"
        )
    counts = {name: sum(DOMAINS[node.domain] == name for node in nodes) for name in dict.fromkeys(DOMAINS.values())}
    told = " and ".join(f"{count} of {name}" for name, count in counts.items())
    return Finding(told, {"operators": counts})


def check_signature(path: Path, model: ModelProto) -> Finding:
    """Refuses inputs and outputs that are not those of a cross-encoder.

    Raises:
        ExportError: saying what was found and what the service feeds.
    """
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = {name: each for name, each in tensors_of(model.graph.input).items() if name not in given}
    outputs = tensors_of(model.graph.output)
    told = f"{', '.join(f'{name} {_type(t)}' for name, t in inputs.items())} -> " + ", ".join(
        f"{name} {_type(t)}" for name, t in outputs.items()
    )
    fed = IDS in inputs and all(
        name in INPUTS and tensor.elem_type in INTEGERS and len(tensor.shape.dim) == 2
        for name, tensor in inputs.items()
    )
    if not fed or outputs.keys() != {OUTPUT} or not _is_logits(outputs[OUTPUT]):
        raise ExportError(
            f"{path}: expected {IDS} and others of {', '.join(INPUTS)}, integers of shape (n, length), and an output "
            f"{OUTPUT}, floats of shape (n, 1); found {told}: the service cannot feed it, export it again"
        )
    return Finding(told, {"inputs": list(inputs), "outputs": list(outputs)})


def tensors_of(values: Iterable[onnx.ValueInfoProto]) -> dict[str, onnx.TypeProto.Tensor]:
    """Inputs or outputs by name."""
    return {each.name: each.type.tensor_type for each in values}


def embedded_tokens(model: ModelProto) -> set[int]:
    """Rows of each table that the graph looks token ids up in; empty where it does so in a way unknown here."""
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    ids = {IDS, *(node.output[0] for node in model.graph.node if node.op_type == "Cast" and node.input[0] == IDS)}
    return {
        rows[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[1] in ids and node.input[0] in rows
    }


def _is_logits(tensor: onnx.TypeProto.Tensor) -> bool:
    return tensor.elem_type in FLOATS and len(tensor.shape.dim) == 2 and tensor.shape.dim[1].dim_value == 1


def _type(tensor: onnx.TypeProto.Tensor) -> str:
    shape = ", ".join(d.dim_param or str(d.dim_value) for d in tensor.shape.dim)
    return f"{TensorProto.DataType.Name(tensor.elem_type).lower()} ({shape})"


def _nodes(graph: GraphProto | FunctionProto) -> Iterator[NodeProto]:
    """The graph's nodes and those of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                yield from _nodes(inner)


def _graphs(attribute: AttributeProto) -> list[GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model's graph, its functions, and the graphs inside either."""
    graphs = [model.graph]
    nodes = [*_nodes(model.graph), *(node for function in model.functions for node in _nodes(function))]
    for node in nodes:
        for attribute in node.attribute:
            graphs += _graphs(attribute)
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)

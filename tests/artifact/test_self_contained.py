"""A graph that keeps weights outside its file is refused, wherever they are; what ONNX Runtime does with one."""

import hashlib
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.descriptor import Descriptor
from onnx import TensorProto, helper, numpy_helper

from artifact import ArtifactError, load_artifact
from artifact.manifest import derive_version
from artifact.self_contained import FIELDS, check_self_contained

WEIGHTS = np.arange(256, dtype=np.float32)


def external_tensor(location: str) -> TensorProto:
    tensor = numpy_helper.from_array(WEIGHTS, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def adding(weights: TensorProto) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [256]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    (folder / "inside").write_bytes(WEIGHTS.tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    return folder


def leaving(folder):
    return ["../secret", str(folder.parent / "secret"), "sub/../../secret", "link"]


def test_the_runtime_itself_refuses_a_path_that_leaves_the_folder(model_folder):
    for location in leaving(model_folder):
        path = model_folder / "model.onnx"
        path.write_bytes(adding(external_tensor(location)).SerializeToString())
        with pytest.raises(Exception, match="External data path"):
            onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        with pytest.raises(ArtifactError, match="found a tensor kept in another one"):
            check_self_contained(path)


def test_a_file_inside_the_folder_the_runtime_reads_unhashed_and_we_refuse(model_folder):
    path = model_folder / "model.onnx"
    path.write_bytes(adding(external_tensor("inside")).SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert np.array_equal(session.run(None, {"x": np.zeros(256, np.float32)})[0], WEIGHTS)
    with pytest.raises(ArtifactError, match=r"model\.onnx: expected all weights inside this file"):
        check_self_contained(path)


def test_an_artifact_with_external_data_does_not_load(folder):
    model = adding(external_tensor("../secret")).SerializeToString()
    (folder / "cpu-fp32.onnx").write_bytes(model)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["variants"][0].update(size_bytes=len(model), sha256=hashlib.sha256(model).hexdigest())
    path.write_text(json.dumps({**manifest, "version": derive_version(manifest)}))
    with pytest.raises(ArtifactError, match="external data"):
        load_artifact(folder)


def test_weights_inside_the_file_pass(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(adding(numpy_helper.from_array(WEIGHTS, "w")).SerializeToString())
    check_self_contained(path)


@pytest.mark.parametrize("place", ["attribute", "attributes", "branch", "sparse", "function", "training"])
def test_a_tensor_hidden_deeper_is_found(tmp_path, place):
    tensor = external_tensor("../secret")
    model = adding(numpy_helper.from_array(WEIGHTS, "w"))
    node = helper.make_node("Constant", [], ["c"])
    if place == "attribute":
        node.attribute.add(name="value").t.CopyFrom(tensor)
    elif place == "attributes":
        node.attribute.add(name="values").tensors.add().CopyFrom(tensor)
    elif place == "branch":
        node.attribute.add(name="then_branch").g.initializer.add().CopyFrom(tensor)
    elif place == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif place == "function":
        model.functions.add().node.add().attribute.add().graphs.add().initializer.add().CopyFrom(tensor)
    else:
        model.training_info.add().algorithm.initializer.add().CopyFrom(tensor)
    model.graph.node.append(node)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="external data"):
        check_self_contained(path)


@pytest.mark.parametrize("contents", [b"weights", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 40, b"\x3a"])
def test_what_is_no_model_is_left_to_the_runtime(tmp_path, contents):
    path = tmp_path / "model.onnx"
    path.write_bytes(contents)
    check_self_contained(path)


def test_the_walk_knows_every_field_under_which_a_tensor_can_stand():
    messages: dict[str, Descriptor] = {}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in messages:
            messages[message.name] = message
            waiting += [field.message_type for field in message.fields if field.message_type]
    holding, before = {"TensorProto"}, set()
    while holding != before:
        before = set(holding)
        holding |= {
            name
            for name, message in messages.items()
            if any(field.message_type and field.message_type.name in holding for field in message.fields)
        }
    expected = {
        name: {
            field.number: field.message_type.name
            for field in messages[name].fields
            if field.message_type and field.message_type.name in holding
        }
        for name in holding
    }
    assert {name: dict(fields) for name, fields in FIELDS.items()} == expected

"""The plain handler is a real contestant: a real model behind it, the peer's protocol before it."""

import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from loadtest.benchmarks.bench import Plan, run_bench
from loadtest.benchmarks.contestants import PLAIN_NAME, plain
from loadtest.benchmarks.protocols import ProductText
from loadtest.errors import LoadtestError
from loadtest.traffic.requests import make_request

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "usb", "charger", "shoe", "red"]


@pytest.fixture
def folder(tmp_path):
    """A model whose logit is the sum of the token ids of what is no padding in the second segment."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    names = ("input_ids", "attention_mask", "token_type_ids")
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["kept"]),
        helper.make_node("Mul", ["kept", "token_type_ids"], ["second"]),
        helper.make_node("Cast", ["second"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axes"], ["logits"], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["pairs", "tokens"]) for name in names],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["pairs", 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model_quantized.onnx")
    return tmp_path


def test_it_scores_each_product_and_answers_in_the_peers_protocol(folder, tmp_path):
    request = make_request("usb", [{"title": "charger"}, {"title": "red usb charger"}, {"title": "shoe"}])
    plan = Plan(1, 2, 1, ready_timeout_s=60, request_timeout_s=60, ports=(18200, 18299), in_flight=(1, 2))
    contestant = plain(folder, {})
    result = run_bench(
        [contestant], [request] * plan.needed, plan, text=ProductText(("title",)), log_dir=tmp_path, say=str
    )
    (entry,) = result.entries
    assert entry.failure is None
    assert entry.contestant.name == PLAIN_NAME
    assert "onnxruntime" in entry.contestant.versions
    # Token ids of the product, and of the [SEP] behind it.
    assert entry.scores == [[5 + 2, 7 + 4 + 5 + 2, 6 + 2]] * 2


def test_a_folder_without_the_model_is_named(tmp_path):
    (tmp_path / "tokenizer.json").touch()
    with pytest.raises(LoadtestError, match=r"--plain: .*model_quantized\.onnx is missing"):
        plain(tmp_path, {})

"""A split artifact small enough to make in a moment: three hand-made graphs in fp32 and in int8, weights by a seed.

The product encoder adds a share of the product's mean embedding to each token's embedding, so that a state depends on
the whole product; the query encoder does the same; the interaction adds the product of the pooled vectors to MaxSim.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as Type
from onnx import helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from artifact import (
    Calibration,
    GoldenPair,
    InputTemplate,
    Lineage,
    Manifest,
    PairTokenizer,
    TemplateField,
    TokenizerFile,
    Variant,
    write_artifact,
)
from artifact.loading import sha256_of
from artifact.manifest import GraphFile, StateLayout
from artifact.product_states import ZERO_POINT, ProductState, states_of_batch

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (
    *("usb", "charger", "cable", "laptop", "red", "blue", "black", "phone", "case"),
    *("garden", "hose", "watch", "band", "shoe", "for", "with", "wireless", "mouse"),
)
TEMPLATE = InputTemplate(
    fields=(
        TemplateField(name="title", max_tokens=20),
        TemplateField(name="brand", max_tokens=4, omit_if_in="title"),
    ),
    max_query_tokens=10,
    max_tokens=40,
)
GOLDEN = (
    ("usb charger", {"title": "wireless usb charger for phone", "brand": "acme"}),
    ("red shoe", {"title": "garden hose"}),
    ("laptop", {"title": "black laptop case with red cable and mouse and watch band"}),
)
WIDTH = 12
TOLERANCE = {"fp32": 1e-4, "int8": 0.1}
OPSET, IR_VERSION = 17, 8


def build_split_artifact(
    folder: Path,
    scratch: Path,
    *,
    name: str = "split",
    seed: int = 0,
    interaction_seed: int | None = None,
    shared: bool = False,
) -> Manifest:
    """Writes a split artifact with the variants cpu-fp32 and cpu-int8; intermediate files go to `scratch`.

    Another `interaction_seed` with the same `seed` gives other scores from the same states. `shared`: the graph of the
    query reads the product encoder's states in place of a text; scores are the same.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer_path = scratch / "tokenizer.json"
    vocab_size = _write_tokenizer(tokenizer_path)
    tokenizer = PairTokenizer(tokenizer_path, TEMPLATE)
    embeddings = np.random.default_rng(seed).normal(size=(vocab_size, WIDTH)).astype(np.float32)
    of_interaction = np.random.default_rng(seed if interaction_seed is None else interaction_seed)
    mixing = of_interaction.uniform(0.5, 1.5, WIDTH).astype(np.float32)
    files, variants, logits = {"tokenizer.json": tokenizer_path}, [], {}
    for precision in ("fp32", "int8"):
        int8, variant_name = precision == "int8", f"cpu-{precision}"
        graphs = {
            f"{variant_name}.onnx": _interaction(mixing, int8),
            f"{variant_name}-product.onnx": _product_encoder(embeddings, int8, shared),
            f"{variant_name}-query.onnx": _query_of_states() if shared else _query_encoder(embeddings),
        }
        parts = []
        for file, graph in graphs.items():
            files[file] = scratch / file
            onnx.save(graph, files[file])
            size = files[file].stat().st_size
            parts.append(GraphFile(file=file, size_bytes=size, sha256=sha256_of(files[file])))
        interaction, product, query = parts
        variants.append(
            Variant(
                name=variant_name,
                **interaction.model_dump(),
                device="cpu",
                precision=precision,
                golden_tolerance=TOLERANCE[precision],
                product_encoder=product,
                query_encoder=query,
                states=StateLayout(precision=precision, width=WIDTH, pooled_width=WIDTH),
            )
        )
        logits[variant_name] = _golden_logits(tokenizer, *(files[each.file] for each in parts))
    contents = {
        "name": name,
        "architecture": "split",
        "layers": 1,
        "hidden_size": WIDTH,
        "template": TEMPLATE,
        "tokenizer": TokenizerFile(sha256=sha256_of(tokenizer_path), vocab_size=vocab_size),
        "variants": tuple(variants),
        "calibration": Calibration(slope=0.1, intercept=-0.5),
        "lineage": Lineage(
            teacher="none",
            student_init="random",
            loss="none",
            seed=seed,
            commit=None,
            created="2026-01-01",
            data_sets=(),
            durations_s={},
        ),
        "evaluation": (),
        "golden_pairs": tuple(
            GoldenPair(query=query, product=product, logits={each: found[i] for each, found in logits.items()})
            for i, (query, product) in enumerate(GOLDEN)
        ),
    }
    return write_artifact(folder, contents, files, "# Tiny split model\n\nRandom weights, for tests.\n")


def encode_alone(session: onnxruntime.InferenceSession, tokenizer: PairTokenizer, product: dict) -> ProductState:
    """The state of one product, by itself."""
    batch = tokenizer.collate_alone(tokenizer.encode_products([product]))
    outputs = session.run(
        ["tokens", "scales", "pooled", "pooled_scales"],
        {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask},
    )
    return states_of_batch(*outputs, [batch.input_ids.shape[1]])[0]


def _write_tokenizer(path: Path) -> int:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789")
    tokens = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *WORDS]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.save(str(path))
    return len(tokens)


class _Graph:
    """Nodes and constants of a graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: object, dtype: type = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def model(self, inputs: dict[str, tuple], outputs: dict[str, tuple]) -> onnx.ModelProto:
        described = [
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in each.items()]
            for each in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "tiny", *described, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model


TEXTS = {"input_ids": (Type.INT64, ["n", "length"]), "attention_mask": (Type.INT64, ["n", "length"])}


def _encode(graph: _Graph, embeddings: np.ndarray) -> tuple[str, str]:
    """Values of the tokens (n, length, width), of the whole text (n, width)."""
    found = graph.add("Gather", graph.constant(embeddings), "input_ids")
    mask = graph.add("Cast", "attention_mask", to=Type.FLOAT)
    weighted = graph.add("Mul", found, graph.add("Unsqueeze", mask, graph.constant([2], np.int64)))
    total = graph.add("ReduceSum", weighted, graph.constant([1], np.int64), keepdims=0)
    count = graph.add("ReduceSum", mask, graph.constant([1], np.int64), keepdims=1)
    mean = graph.add("Div", total, count)
    share = graph.add("Mul", graph.add("Unsqueeze", mean, graph.constant([1], np.int64)), graph.constant(0.5))
    return graph.add("Add", found, share), mean


def _product_encoder(embeddings: np.ndarray, int8: bool, shared: bool) -> onnx.ModelProto:
    graph = _Graph()
    tokens, pooled = _encode(graph, embeddings)
    for value, name, scales in ((tokens, "tokens", "scales"), (pooled, "pooled", "pooled_scales")):
        largest = graph.add("ReduceMax", graph.add("Abs", value), axes=[-1], keepdims=1)
        if int8:
            scale = graph.add("Div", largest, graph.constant(127))
            whole = graph.add("Add", graph.add("Round", graph.add("Div", value, scale)), graph.constant(ZERO_POINT))
            graph.add("Cast", whole, to=Type.UINT8, output=name)
        else:
            scale = graph.add("Add", graph.add("Mul", largest, graph.constant(0)), graph.constant(1))
            graph.add("Identity", value, output=name)
        graph.add("Squeeze", scale, graph.constant([-1], np.int64), output=scales)
    kind = Type.UINT8 if int8 else Type.FLOAT
    outputs = {"tokens": (kind, ["n", "length", WIDTH]), "scales": (Type.FLOAT, ["n", "length"])}
    outputs |= {"pooled": (kind, ["n", WIDTH]), "pooled_scales": (Type.FLOAT, ["n"])}
    if shared:
        graph.add("Identity", tokens, output="states")
        outputs["states"] = (Type.FLOAT, ["n", "length", WIDTH])
    return graph.model(TEXTS, outputs)


QUERY = {"query_tokens": (Type.FLOAT, [1, "query_length", WIDTH]), "query_pooled": (Type.FLOAT, [1, WIDTH])}


def _query_encoder(embeddings: np.ndarray) -> onnx.ModelProto:
    graph = _Graph()
    tokens, pooled = _encode(graph, embeddings)
    graph.add("Identity", tokens, output="query_tokens")
    graph.add("Identity", pooled, output="query_pooled")
    return graph.model(TEXTS, QUERY)


def _query_of_states() -> onnx.ModelProto:
    graph = _Graph()
    graph.add("Identity", "states", output="query_tokens")
    # A state is an embedding and half of their mean.
    graph.add(
        "Div", graph.add("ReduceMean", "states", axes=[1], keepdims=0), graph.constant(1.5), output="query_pooled"
    )
    return graph.model({"states": (Type.FLOAT, [1, "query_length", WIDTH])}, QUERY)


def _interaction(mixing: np.ndarray, int8: bool) -> onnx.ModelProto:
    graph = _Graph()

    def real(name: str, scales: str) -> str:
        value = name
        if int8:
            value = graph.add("Sub", graph.add("Cast", name, to=Type.FLOAT), graph.constant(ZERO_POINT))
        return graph.add("Mul", value, graph.add("Unsqueeze", scales, graph.constant([-1], np.int64)))

    tokens, pooled = real("tokens", "scales"), real("pooled", "pooled_scales")
    queries = graph.add("Mul", "query_tokens", graph.constant(mixing))
    similar = graph.add("MatMul", queries, graph.add("Transpose", tokens, perm=[0, 2, 1]))
    longest = graph.add("Squeeze", graph.add("Shape", "scales", start=1, end=2), graph.constant([0], np.int64))
    places = graph.add("Range", graph.constant(0, np.int64), longest, graph.constant(1, np.int64))
    real_ones = graph.add("Less", places, graph.add("Unsqueeze", "lengths", graph.constant([1], np.int64)))
    shown = graph.add("Unsqueeze", real_ones, graph.constant([1], np.int64))
    best = graph.add("ReduceMax", graph.add("Where", shown, similar, graph.constant(-1e9)), axes=[2], keepdims=0)
    late = graph.add("ReduceMean", best, axes=[1], keepdims=1)
    products = graph.add("Mul", pooled, "query_pooled")
    whole = graph.add("ReduceSum", products, graph.constant([1], np.int64), keepdims=1)
    graph.add("Add", late, whole, output="logits")
    kind = Type.UINT8 if int8 else Type.FLOAT
    states = {"tokens": (kind, ["n", "longest", WIDTH]), "scales": (Type.FLOAT, ["n", "longest"])}
    states |= {"lengths": (Type.INT64, ["n"]), "pooled": (kind, ["n", WIDTH]), "pooled_scales": (Type.FLOAT, ["n"])}
    return graph.model({**QUERY, **states}, {"logits": (Type.FLOAT, ["n", 1])})


def _golden_logits(tokenizer: PairTokenizer, interaction: Path, product_encoder: Path, query_encoder: Path) -> list:
    joined, products, queries = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in (interaction, product_encoder, query_encoder)
    )
    logits = []
    for query, product in GOLDEN:
        batch = tokenizer.collate_alone([tokenizer.encode_query(query)])
        feeds = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if queries.get_inputs()[0].name == "states":
            feeds = {"states": products.run(["states"], feeds)[0]}
        encoded = dict(zip(QUERY, queries.run(list(QUERY), feeds), strict=True))
        state = encode_alone(products, tokenizer, product)
        encoded |= {"tokens": state.tokens[None], "scales": state.scales[None], "pooled": state.pooled[None]}
        encoded["lengths"] = np.array([len(state.tokens)])
        encoded["pooled_scales"] = np.array([state.pooled_scale], np.float32)
        logits.append(joined.run(["logits"], encoded)[0].item())
    return logits

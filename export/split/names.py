"""Names of the graphs' inputs and outputs: what the service feeds and passes on."""

from onnx import TensorProto

from ..graph import Tensor
from .shape import InteractionShape

TEXT_INPUTS = ("input_ids", "attention_mask")

TOKENS, SCALES, LENGTHS = "tokens", "scales", "lengths"
POOLED, POOLED_SCALES = "pooled", "pooled_scales"
PRODUCT_OUTPUTS = (TOKENS, SCALES, POOLED, POOLED_SCALES)
STATES = "states"
"""(n, length, width): the encoder's own states. Where both sides share an encoder, its graph gives them for queries,
and the graph of the query reads them instead of a text."""
PRODUCT_INPUTS = (TOKENS, SCALES, LENGTHS, POOLED, POOLED_SCALES)

QUERY_VECTOR = "query_vector"
"""(1, width): the query's unit vector, times the cosine's weight."""
MATCHING = "matching"
"""(1, query tokens, state width): its tokens' unit states, times their importance: what MaxSim multiplies."""
RESIDUAL = "residual"
"""(1, asking tokens, width): the first interaction layer's input."""
ASKING = "asking"
"""(1, heads * asking tokens, state width): its queries, brought to the space of product states."""
OWN_SCORES = "own_scores"
"""(1, heads * asking tokens, query tokens): their attention scores among each other."""
OWN_VALUES = "own_values"
"""(1, heads, query tokens, head size): the values of the query's tokens."""


def query_tensors(shape: InteractionShape) -> list[Tensor]:
    """What the query encoder gives and the interaction takes."""
    tensors = [Tensor(QUERY_VECTOR, TensorProto.FLOAT, (1, shape.width))]
    if shape.max_sim:
        tensors.append(Tensor(MATCHING, TensorProto.FLOAT, (1, "query_tokens", shape.state_width)))
    if shape.layers:
        asking = "asking_by_head"
        tensors += [
            Tensor(RESIDUAL, TensorProto.FLOAT, (1, "asking", shape.width)),
            Tensor(ASKING, TensorProto.FLOAT, (1, asking, shape.state_width)),
            Tensor(OWN_SCORES, TensorProto.FLOAT, (1, asking, "query_tokens")),
            Tensor(OWN_VALUES, TensorProto.FLOAT, (1, shape.heads, "query_tokens", shape.head_size)),
        ]
    return tensors

"""A split student's checkpoint folder: the torch model that defines the right answer, and the weights of its graphs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from artifact import InputTemplate, StateLayout
from training.errors import TrainingError
from training.split import SHAPE_FILE, SplitStudent

from ..attention import Spelling
from ..bert import BertShape
from ..errors import ExportError
from ..families.bert import bert_shape
from ..graph import Arithmetic, Floats
from .encoders import build_product_encoder, build_query_encoder
from .interaction import build_interaction
from .shape import InteractionShape, States

Part = Literal["product", "query", "interaction"]
PARTS: tuple[Part, ...] = ("product", "query", "interaction")
"""The three graphs."""

Built = dict[Part, tuple[onnx.ModelProto, dict[str, str]]]
"""Of each graph the model and its taps."""


@dataclass(frozen=True)
class SplitCheckpoint:
    """A split student, finite, in evaluation mode."""

    folder: Path
    student: SplitStudent

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer of both encoders."""
        return self.student.tokenizer_path

    @property
    def shared(self) -> bool:
        """Whether one encoder reads queries and products."""
        return self.student.query_encoder is self.student.product_encoder

    @property
    def vocab_size(self) -> int:
        """Rows of the smaller embedding table."""
        return min(int(self._config(side).vocab_size) for side in ("query", "product"))

    @property
    def max_positions(self) -> int:
        """Longest text that both encoders have positions for."""
        return min(int(self._config(side).max_position_embeddings) for side in ("query", "product"))

    @cached_property
    def shape(self) -> InteractionShape:
        """Sizes of the interaction."""
        interaction, query = self.student.interaction, self.student.query_encoder
        projection = interaction.projection
        return InteractionShape(
            layers=len(interaction.layers),
            width=query.width,
            heads=int(self._config("query").num_attention_heads),
            state_width=query.width if projection is None else int(projection.out_features),
            projected=projection is not None,
            max_sim=bool(interaction.shortcut.weight[0, 1] != 0),
            layer_norm_eps=float(self._config("query").layer_norm_eps),
        )

    @cached_property
    def encoder_shapes(self) -> dict[Part, BertShape]:
        """Sizes of either encoder; token types, of which there is one, are in the positions."""
        sides: tuple[Part, Part] = ("product", "query")
        return {side: replace(bert_shape(self._config(side)), token_types=False) for side in sides}

    def states(self, precision: States) -> StateLayout:
        """What is kept of a product."""
        return StateLayout(precision=precision, width=self.shape.state_width, pooled_width=self.shape.width)

    def build(
        self,
        arithmetic: Callable[[Part], Arithmetic],
        states: States,
        spelling: Spelling = "fused",
        expose_taps: bool = False,
    ) -> Built:
        """The three graphs.

        Args:
            arithmetic: of each.
            states: in which numbers they pass from the product encoder to the interaction.
            spelling: of the encoders' attention.
        """
        shapes, shape, interaction = self.encoder_shapes, self.shape, self._interaction
        both = (interaction, shape)
        return {
            "product": build_product_encoder(
                self._encoder("product"),
                shapes["product"],
                *both,
                arithmetic("product"),
                states,
                spelling,
                expose_taps,
                self.shared,
            ),
            "query": build_query_encoder(
                None if self.shared else (self._encoder("query"), shapes["query"]),
                *both,
                arithmetic("query"),
                spelling,
                expose_taps,
            ),
            "interaction": build_interaction(interaction, shape, arithmetic("interaction"), states, expose_taps),
        }

    @cached_property
    def _interaction(self) -> dict[str, Floats]:
        return {name: _array(value) for name, value in self.student.interaction.state_dict().items()}

    def _encoder(self, side: Part) -> dict[str, Floats]:
        """Weights of an encoder under the names that bert.py reads."""
        state = self._module(side).state_dict()
        weights = {f"bert.{name}": _array(value) for name, value in state.items()}
        positions = "bert.embeddings.position_embeddings.weight"
        weights[positions] = weights[positions] + weights.pop("bert.embeddings.token_type_embeddings.weight")[0]
        return weights

    def _module(self, side: str) -> Any:
        return (self.student.query_encoder if side == "query" else self.student.product_encoder).bert

    def _config(self, side: str) -> Any:
        return self._module(side).config


def is_split(folder: Path) -> bool:
    """Whether a checkpoint folder is a split student's."""
    return (folder / SHAPE_FILE).is_file()


def read_split(folder: Path, template: InputTemplate | None = None) -> SplitCheckpoint:
    """Reads a split student's folder.

    Args:
        template: that the student must have been trained with; None: not checked.

    Raises:
        ExportError: it cannot be read, a weight is not finite, or it has another template.
    """
    try:
        student = SplitStudent.read(folder).eval()
    except (TrainingError, OSError, ValueError) as error:
        raise ExportError(f"{folder}: expected the checkpoint of a split student: {error}") from error
    if template is not None and student.tokenizer.template != template:
        raise ExportError(f"{folder}: was trained with another input template; take its own")
    return checked(SplitCheckpoint(folder, student))


def checked(checkpoint: SplitCheckpoint) -> SplitCheckpoint:
    """The same checkpoint.

    Raises:
        ExportError: a weight is not finite.
    """
    for name, value in checkpoint.student.state_dict().items():
        if not bool(value.isfinite().all()):
            raise ExportError(
                f"{checkpoint.folder}: {name} holds NaN or infinity: the training run went wrong, do not use it"
            )
    return checkpoint


def _array(value: Any) -> Floats:
    return np.ascontiguousarray(value.detach().float().cpu().numpy())

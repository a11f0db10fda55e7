"""Runs the product encoder of a split model over token ids: the states that the service would compute itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifact import Artifact, Variant
from artifact.manifest import StateLayout
from artifact.product_states import ProductState, states_of_batch

from .errors import ExportError
from .runtime import open_session, read_by
from .split.names import PRODUCT_OUTPUTS


class ProductEncoder:
    """A variant's product encoder in a session of one thread; any number of threads may run it.

    Args:
        artifact: verified.
        variant: one of its variants, of a split model, for CPU.

    Raises:
        ExportError: the graph does not load, or has other outputs than it should.
    """

    def __init__(self, artifact: Artifact, variant: Variant) -> None:
        if variant.product_encoder is None or variant.states is None:
            raise ExportError(f"{artifact.folder}: {variant.name} has no product encoder; its model is not split")
        self.layout: StateLayout = variant.states
        self._tokenizer = artifact.tokenizer
        self._path: Path = artifact.folder / variant.product_encoder.file
        self._session = open_session(self._path.read_bytes())
        outputs = {each.name for each in self._session.get_outputs()}
        if not outputs.issuperset(PRODUCT_OUTPUTS):
            raise ExportError(
                f"{self._path}: expected outputs {', '.join(PRODUCT_OUTPUTS)}, found {', '.join(outputs)}"
            )

    def states(self, products: Sequence[NDArray[np.int64]]) -> list[ProductState]:
        """The states of a batch of products, given their token ids without special ones."""
        feeds = self._tokenizer.collate_alone(products).feeds()
        tokens, scales, pooled, pooled_scales = self._session.run(list(PRODUCT_OUTPUTS), read_by(self._session, feeds))
        return states_of_batch(tokens, scales, pooled, pooled_scales, feeds["attention_mask"].sum(axis=1))

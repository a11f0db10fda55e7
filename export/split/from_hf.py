"""An untrained split student of a sentence encoder from elsewhere: cosine plus MaxSim, no interaction layers."""

from pathlib import Path

from artifact import ArtifactError, InputTemplate, PairTokenizer
from training.config import SplitShape
from training.errors import TrainingError
from training.split import SplitStudent
from training.split.encoder import TextEncoder
from training.split.interaction import Interaction

from ..errors import ExportError
from .checkpoint import SplitCheckpoint, checked


def untrained_split(folder: Path, tokenizer_path: Path, template: InputTemplate) -> SplitCheckpoint:
    """One encoder for both sides, states as wide as its own, both shortcuts with weight 1, every token as important.

    Raises:
        ExportError: it is no BERT encoder, or a weight is not finite.
    """
    try:
        encoder = TextEncoder.create(str(folder))
        tokenizer = PairTokenizer(tokenizer_path, template)
    except (TrainingError, ArtifactError) as error:
        raise ExportError(f"{folder}: expected a sentence encoder of BERT's kind: {error}") from error
    interaction = Interaction((), None, 1.0, encoder.width)
    shape = SplitShape(interaction_layers=(), state_width=None)
    student = SplitStudent(encoder, encoder, interaction, shape, tokenizer, tokenizer_path)
    return checked(SplitCheckpoint(folder, student.eval()))

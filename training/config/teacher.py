"""Settings of the teacher."""

from pydantic import Field

from artifact import InputTemplate

from .optimisation import Optimisation
from .settings import Settings


class Teacher(Settings):
    """A cross-encoder with a similarity shortcut, fine-tuned on soft targets."""

    model: str = Field(description="Hugging Face id, folder, or all-MiniLM-L6-v2 (from the installed package)")
    template: InputTemplate
    fit: Optimisation

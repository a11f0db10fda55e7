"""What all settings share: frozen, and an unknown name is an error."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

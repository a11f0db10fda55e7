"""From a logit to a calibrated probability of relevance."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field


class Calibration(BaseModel):
    """Platt scaling: score = sigmoid(slope * logit + intercept).

    `slope` is positive, so that calibration never changes a ranking. Source: Platt, "Probabilistic outputs for
    support vector machines", 1999. The identity (slope 1, intercept 0) leaves the plain sigmoid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    intercept: float = Field(default=0.0, allow_inf_nan=False)
    fitted_on: str | None = Field(default=None, description="data and split that the two constants were fitted on")

    def scores(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores in [0, 1] of an array of logits, same shape. A logit that is not finite gives NaN."""
        x = self.slope * np.asarray(logits, dtype=np.float64) + self.intercept
        x = np.where(np.isfinite(x), x, np.nan)
        # exp only of non-positive numbers: no overflow at either end.
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, 1.0, e) / (1.0 + e)

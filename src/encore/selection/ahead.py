"""A pick that was made without reading the pool: for certain, or as a prediction with what would prove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from encore.selection.rows import ROUNDING


@dataclass(frozen=True)
class Ahead:
    """A pick, with its cosines in float32."""

    row: int
    via: Literal["neighbour", "fallback"]
    similarity: float
    """With the pick before it."""
    smallest_similarity: float
    """With any pick."""


@dataclass(frozen=True)
class Prediction(Ahead):
    """A pick that is likely, and what has to be known for certainty."""

    doubtful: Int[np.ndarray, " some"]
    """Rows whose bounds stand against it, ascending."""
    rival: Bool[np.ndarray, " some"]
    """Which of these would be the pick if they were nearer; the others only count as neighbours."""

    def stands(self, cosines: Float[np.ndarray, " some"], neighbours: int) -> bool:
        """Whether a predicted neighbour is the one, given the cosines of the pick before it with doubtful rows."""
        near = cosines >= self.similarity - 4 * ROUNDING
        return int(np.count_nonzero(near)) <= neighbours and not np.count_nonzero(near & self.rival)

"""What a walk says of a pick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Step:
    """One pick, and why it was allowed."""

    row: int
    component: int
    budget: int
    """Samples that the component may have."""
    place: int
    """How many it had before this."""
    via: Literal["anchor", "neighbour", "fallback"]
    reached_from: int | None
    """The sample the walk stood on; None for an anchor."""
    similarity: float | None
    """Cosine with that sample."""
    smallest_similarity: float | None
    """Least cosine with any sample of this component: no conflict if not negative."""
    old_consistency: float | None
    new_consistency: float
    """Cosine of the sum of samples with the component, before and after; absolute unless the options say signed."""
    affinity: float
    """Signed cosine of the sample itself with the component."""

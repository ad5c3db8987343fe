"""Paired tests of two arms on the same test examples, with examples and trainings drawn again by the bootstrap."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from encore.statistics import nested_bootstrap

REPLICATES = 4000
_made: dict[tuple[Any, ...], Gain] = {}  # several tables show the same test, and it takes a while


@dataclass(frozen=True)
class Gain:
    """How much better arm a is than arm b: mean difference, its 95 % interval and p, and the gain under each seed.

    `verdict` is `better` or `worse` only where the interval lies on one side of zero and so does every seed.
    """

    difference: float
    low: float
    high: float
    p: float
    per_seed: list[float]
    examples: int

    @property
    def verdict(self) -> str:
        if self.low > 0 and all(value > 0 for value in self.per_seed):
            return "better"
        if self.high < 0 and all(value < 0 for value in self.per_seed):
            return "worse"
        return "not distinguishable"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def gain(a: Float[np.ndarray, "seeds examples"], b: Float[np.ndarray, "seeds examples"], seed: int = 0) -> Gain:
    """Mean(a) − mean(b) by `encore.statistics.nested_bootstrap`: seeds nested in examples, paired where both have them.

    An arm of one run (the untrained base) stands against each run of the other. Raises ValueError for other examples.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} examples are not pairs")
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ValueError(f"{len(a)} and {len(b)} seeds are not pairs")
    key = (*(f"{rows.shape}{hashlib.sha256(rows.tobytes()).hexdigest()}" for rows in (a, b)), seed)
    if key not in _made:
        found = nested_bootstrap(a, b, seed=seed, replicates=REPLICATES)
        per_seed = (a.mean(axis=1) - b.mean(axis=1)).tolist()
        _made[key] = Gain(found.difference, found.low, found.high, found.p_two_sided, per_seed, a.shape[1])
    return _made[key]

"""Paired tests of two arms: the same test examples, several trainings each, both drawn again by the bootstrap."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

REPLICATES = 4000
_NUMBERS_AT_ONCE = 1 << 22
_SLACK = 1e-12


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


def gain(
    a: Float[np.ndarray, "seeds examples"],
    b: Float[np.ndarray, "seeds examples"],
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Gain:
    """Bootstrap of mean(a) − mean(b) over examples with seeds nested: each replicate draws seeds, then examples.

    Arms with as many seeds are paired by seed; an arm of one run (the untrained base) stands against each run of the
    other. With three seeds the spread between trainings is underestimated (by a factor of 2/3 in variance), which is
    why a verdict also wants all seeds on one side. Raises ValueError for other examples.
    """
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} examples are not pairs")
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ValueError(f"{len(a)} and {len(b)} seeds are not pairs")
    differences = np.asarray(a, float) - np.asarray(b, float)  # one run is set against each of the other's
    seeds, examples = differences.shape
    random = np.random.default_rng(seed)
    means = []
    while replicates > 0:
        count = min(replicates, max(1, _NUMBERS_AT_ONCE // examples))
        of_seeds = random.multinomial(seeds, [1 / seeds] * seeds, size=count) / seeds
        of_examples = random.multinomial(examples, [1 / examples] * examples, size=count) / examples
        means.append(((of_seeds @ differences) * of_examples).sum(1))
        replicates -= count
    drawn = np.concatenate(means)
    below, above = ((drawn <= _SLACK).sum() + 1, (drawn >= -_SLACK).sum() + 1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Gain(
        float(differences.mean()),
        float(low),
        float(high),
        float(min(1.0, 2 * min(below, above) / (len(drawn) + 1))),
        [float(value) for value in differences.mean(1)],
        examples,
    )

"""How strongly a number goes with a category, and how alike several rankings of the same examples are.

Rank correlation of two columns is `encore.statistics.spearman`; these are its companions for what is no number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from encore.statistics import spearman


@dataclass(frozen=True, slots=True)
class GroupEffect:
    """Share of the variance of ranks that a category explains, 0 to 1, and the Kruskal-Wallis p-value.

    NaN, both, where there is one group alone or all values are equal.
    """

    eta_squared: float
    p: float
    groups: int
    n: int


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """Two scores of the same examples: Spearman's rho, and the share of examples that both put on one side of their
    medians (0.5 by chance, 1 for the same halves)."""

    a: str
    b: str
    rho: float
    p: float
    same_half: float
    n: int


def group_effect(values: ArrayLike, groups: Sequence[str] | np.ndarray) -> GroupEffect:
    """How much of `values` goes with membership in `groups`: eta squared of the ranks, and Kruskal and Wallis's test.

    eta^2 = between-group sum of squares of the ranks / their total = H / (n - 1), with H corrected for ties. Raises
    ValueError for unequal lengths. Source: Kruskal and Wallis (1952), JASA 47(260); `scipy.stats.kruskal`.
    """
    x, names = np.asarray(values, dtype=float), np.asarray(groups)
    if x.ndim != 1 or x.shape != names.shape or not np.isfinite(x).all():
        raise ValueError(f"group_effect needs a finite value and a group each, got {x.shape} and {names.shape}")
    members = [x[names == name] for name in sorted(set(names.tolist()))]
    if len(members) < 2 or np.ptp(x) == 0:
        return GroupEffect(math.nan, math.nan, len(members), len(x))
    test = scipy.stats.kruskal(*members)
    return GroupEffect(float(test.statistic) / (len(x) - 1), float(test.pvalue), len(members), len(x))


def rank_agreement(scores: Mapping[str, ArrayLike]) -> list[RankAgreement]:
    """Every pair of `scores`, which are of the same examples in the same order; a half is at most the median, or above.

    Raises ValueError for scores of different lengths.
    """
    columns = {name: np.asarray(values, dtype=float) for name, values in scores.items()}
    upper = {name: values > np.median(values) for name, values in columns.items()}
    names, found = list(columns), []
    for index, a in enumerate(names):
        for b in names[index + 1 :]:
            rank = spearman(columns[a], columns[b])
            same = float((upper[a] == upper[b]).mean())
            found.append(RankAgreement(a, b, rank.rho, rank.p, same, rank.n))
    return found

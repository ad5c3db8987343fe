"""What a method hands back: places in the pool, in order of choice, and for each the reason that a person can read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from encore.errors import UserError


@dataclass(frozen=True)
class Selection:
    """Places of the chosen examples, in order of choice, each once; and how they came about.

    A method may choose fewer than it was asked for: compare methods at the count they reached.
    """

    indices: list[int]
    reasons: list[dict[str, Any]]
    """One for each of `indices`, JSON values only: `score` and `rank`, or the steps of a walk (see `walk.Step`)."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Every open choice as it was made, defaults included, and what the method learned (components, budgets)."""
    requested: int = 0
    """The number of examples that the fraction stands for."""
    seconds: float = 0.0
    """Wall time of the choice, without the gradients or losses it was given."""


def budget(examples: int, fraction: float) -> int:
    """Number of examples that `fraction` of a pool stands for: int(N · fraction), as G2IS's code has it.

    Raises:
        UserError: the pool is empty; the fraction is not in (0, 1], or stands for no example at all.
    """
    if not examples:
        raise UserError("the pool is empty: there is nothing to choose from")
    if not 0 < fraction <= 1:
        raise UserError(f"fraction is {fraction}: it must be above 0 and at most 1")
    count = int(examples * fraction)
    if not count:
        raise UserError(f"fraction {fraction} of {examples} pool examples is not one example: raise it")
    return count


def largest_remainder(count: int, weights: Sequence[float]) -> list[int]:
    """`count` divided by `weights`, which sum to 1: whole parts, then one each to the largest fractional parts."""
    exact = count * np.asarray(weights)
    shares = np.floor(exact).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: count - int(shares.sum())]] += 1
    return [int(share) for share in shares]


def best(
    scores: Float[np.ndarray, " examples"],
    count: int,
    *,
    excluded: Collection[int] = (),
    about: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[list[int], list[dict[str, Any]]]:
    """The `count` examples of the highest scores, best first, ties by lower place; and their reasons.

    Args:
        scores: one number an example; higher is better.
        excluded: places that are not to be chosen.
        about: what to say of an example besides its score and rank.

    Raises:
        UserError: a score is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"the score of pool example {int((~np.isfinite(values)).argmax())} is not finite: drop it")
    order = np.argsort(-values, kind="stable")
    if excluded:
        order = order[~np.isin(order, list(excluded))]
    chosen = [int(place) for place in order[:count]]
    reasons = [
        {"rank": rank, "score": float(values[place]), **(about[place] if about else {})}
        for rank, place in enumerate(chosen)
    ]
    return chosen, reasons

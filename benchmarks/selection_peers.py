"""The gradient walk of G2IS in plain numpy, one candidate after another: what benchmarks and tests hold ours against.

Written from the published description (arXiv 2502.11062, algorithm 1), line by line and without a shortcut. It works in
the type of the rows that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_NOTHING = 1e-10


@dataclass
class Counts:
    """What a walk looked at."""

    looked: int = 0
    """Candidates that were tested."""
    conflicts: int = 0
    inconsistent: int = 0
    via: list[str] = field(default_factory=list)
    """Of each pick: anchor, neighbour, fallback."""


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def graph(rows: np.ndarray, neighbours: int, block: int = 1024) -> np.ndarray:
    """Of each unit row, the nearest others by descending cosine, ties by lower place; int32 [rows, neighbours]."""
    count = min(neighbours, len(rows) - 1)
    found = np.empty((len(rows), count), np.int32)
    for start in range(0, len(rows), block):
        cosines = rows[start : start + block] @ rows.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        if count < len(rows) - 1:  # a partition first: the kinder way
            nearest = np.sort(np.argpartition(-cosines, count, axis=1)[:, :count], axis=1)
            order = np.argsort(-np.take_along_axis(cosines, nearest, 1), axis=1, kind="stable")
            found[start : start + len(cosines)] = np.take_along_axis(nearest, order, 1)
        else:
            found[start : start + len(cosines)] = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return found


def principal_components(targets: np.ndarray, variance: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Components of the centred targets up to a share of their variance, scikit-learn's signs; and their weights."""
    centred = targets - targets.mean(0)
    _, sizes, components = np.linalg.svd(centred, full_matrices=False)
    ratios = sizes**2 / (sizes**2).sum()
    count = int(np.searchsorted(np.cumsum(ratios), variance, side="right")) + 1
    components, ratios = components[:count], ratios[:count]
    largest = np.abs(components).argmax(1)
    components = components * np.sign(components[np.arange(count), largest])[:, None]
    return components, ratios / ratios.sum()


def shares(count: int, weights: np.ndarray) -> list[int]:
    """Largest remainders."""
    exact = [count * float(weight) for weight in weights]
    found = [int(one) for one in exact]
    by_fraction = sorted(range(len(exact)), key=lambda place: found[place] - exact[place])
    for place in by_fraction[: count - sum(found)]:
        found[place] += 1
    return found


def walk(
    rows: np.ndarray,
    components: np.ndarray,
    weights: np.ndarray,
    count: int,
    lists: Sequence[Sequence[int]] | np.ndarray,
    delta: float = 0.8,
    counts: Counts | None = None,
) -> list[int]:
    """The chosen rows, in order. `rows` and `components` are unit."""
    counts = Counts() if counts is None else counts
    used: set[int] = set()
    chosen: list[int] = []
    for component, budget in zip(components, shares(count, weights), strict=True):
        if not budget:
            continue
        affinity = rows @ component
        order = np.argsort(-affinity, kind="stable")
        anchor = next((int(row) for row in order if int(row) not in used), None)
        if anchor is None:
            break
        mine, total = [anchor], rows[anchor].copy()
        used.add(anchor)
        counts.via.append("anchor")
        while len(mine) < budget:
            bound = delta * _consistency(total, component)
            via = "neighbour"
            pick = _first_feasible(rows, component, lists[mine[-1]], used, mine, total, bound, counts)
            if pick is None:
                via = "fallback"
                pick = _first_feasible(rows, component, order, used, mine, total, bound, counts)
            if pick is None:
                break
            mine.append(pick)
            used.add(pick)
            total = total + rows[pick]
            counts.via.append(via)
        chosen += mine
    return chosen


def _first_feasible(
    rows: np.ndarray,
    component: np.ndarray,
    candidates: Sequence[int] | np.ndarray,
    used: set[int],
    mine: list[int],
    total: np.ndarray,
    bound: float,
    counts: Counts,
) -> int | None:
    for candidate in candidates:
        row = int(candidate)
        if row in used:
            continue
        counts.looked += 1
        if np.any(rows[mine] @ rows[row] < 0):
            counts.conflicts += 1
        elif _consistency(total + rows[row], component) < bound:
            counts.inconsistent += 1
        else:
            return row
    return None


def _consistency(total: np.ndarray, component: np.ndarray) -> float:
    length = float(np.linalg.norm(total))
    return abs(float(total @ component)) / length if length > _NOTHING else 0.0


def less_scores(
    pools: Sequence[np.ndarray], targets: Sequence[np.ndarray], weights: Sequence[float], subtasks: Sequence[str]
) -> np.ndarray:
    """LESS by its formula, with the whole matrix of cosines: a weighted sum, a mean by subtask, the largest."""
    scores: np.ndarray = np.zeros((len(pools[0]), len(targets[0])))
    for pool, target, weight in zip(pools, targets, weights, strict=True):
        scores = scores + weight / sum(weights) * (unit(pool) @ unit(target).T)
    names = list(dict.fromkeys(subtasks))
    columns = [[place for place, name in enumerate(subtasks) if name == one] for one in names]
    return np.stack([scores[:, places].mean(1) for places in columns], 1).max(1)

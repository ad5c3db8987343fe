"""Neighbour lists of a pool: exact ones by blocked search, and approximate ones by FAISS with their recall.

The walk finds exact neighbours itself, in the cosines that its constraints need anyway. Lists made beforehand are for
other programs, and for measuring what an approximate index would change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from encore.errors import UserError
from encore.selection.exact_choice import NeighbourLists
from encore.selection.rows import Rows, UnitRows

_TRAINING_ROWS_A_CLUSTER = 40


def neighbour_lists(
    rows: Rows, count: int, *, places: Sequence[int] | None = None, float64: bool = False, block: int = 256
) -> Int[np.ndarray, "places count"]:
    """The `count` nearest other rows of each of `places` (all), by descending cosine, ties by lower place; int32.

    Args:
        float64: take cosines in float64, which tells neighbours apart that are closer than 1e-6, at twice the time.
        block: rows searched for at once, with one reading of the pool.
    """
    wanted = list(range(len(rows))) if places is None else list(places)
    count = min(count, len(rows) - 1)
    found = np.empty((len(wanted), count), np.int32)
    for start in range(0, len(wanted), block):
        part = wanted[start : start + block]
        queries = rows.exact(part)
        if float64:
            every = range(0, len(rows), 4096)
            columns = [queries @ rows.exact(range(at, min(at + 4096, len(rows)))).T for at in every]
            cosines = torch.cat(columns, 1).numpy()
        else:
            cosines = rows.cosines(queries.float()).cpu().numpy()
        cosines[np.arange(len(part)), part] = -np.inf
        found[start : start + len(part)] = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return found


def faiss_lists(rows: Rows, count: int, *, probes: int = 16, seed: int = 0) -> NeighbourLists:
    """Approximate neighbours from an inverted-file index of 8-bit rows (one byte a number in memory), made here.

    Args:
        probes: of the √rows clusters, how many are searched: more is slower and finds more.

    Raises:
        UserError: FAISS is not installed; the rows are of several checkpoints.
    """
    try:
        import faiss
    except ImportError as error:
        raise UserError("FAISS is not installed: pip install 'encore[selection]', or use search \"exact\"") from error
    if not isinstance(rows, UnitRows):
        raise UserError('search "faiss" is for one checkpoint: name one, or use search "exact"')
    clusters = max(1, int(len(rows) ** 0.5))
    index: Any = faiss.index_factory(rows.dim, f"IVF{clusters},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    sample = np.random.default_rng(seed).permutation(len(rows))[: _TRAINING_ROWS_A_CLUSTER * clusters]
    index.train(rows.exact(np.sort(sample).tolist()).float().numpy())
    norms = rows.norms
    for where, block in rows.blocks():
        index.add((block / norms[where, None]).cpu().numpy())
    index.nprobe = min(probes, clusters)

    def nearest(row: int) -> list[int]:
        found = index.search(rows.exact([row]).float().numpy(), count + 1)[1][0]
        return [int(place) for place in found if place not in (row, -1)][:count]

    return nearest


def recall(lists: NeighbourLists, rows: Rows, count: int, places: Sequence[int]) -> float:
    """Share of the exact `count` neighbours of `places` that `lists` has."""
    exact = neighbour_lists(rows, count, places=places)
    shares = [
        len(set(lists(place)[:count]) & set(one.tolist())) / len(one) for place, one in zip(places, exact, strict=True)
    ]
    return float(np.mean(shares))

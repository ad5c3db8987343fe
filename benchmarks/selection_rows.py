"""Rows that selection is timed on: drawn by chance, of kinds that a walk finds easy and hard, or gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import selection_peers as peers

from encore.gradients import Store

TARGETS, TOPICS, NOISE = 256, 40, 0.5

KINDS = {
    "unrelated": (0.0, 0.0, TOPICS, 0.0),
    "conflicting": (0.0, 1.0, TOPICS, 0.0),
    "mixed": (0.8, 1.0, TOPICS, 0.0),
    "coherent": (2.0, 1.0, TOPICS, 0.0),
    "spectrum": (0.8, 1.0, 1024, -0.5),
}
"""Weights, beside noise, of the direction that all rows share and of their topics; how many topics; and the power by
which the topics' sizes fall.

Of the pairs of "unrelated" and "conflicting" rows half conflict, in all dimensions or in as many as there are topics.
"spectrum" has no few directions that all rows lie near: the case that a sketch of the pool is worst for.
"""


class Rows:
    """Rows of `kind` in blocks: what all share, a mixture of topics with signs, a little noise."""

    def __init__(self, kind: str, dim: int, seed: int = 0):
        self.random = np.random.default_rng(seed)
        shared, topical, topics, power = KINDS[kind]
        self.shared = shared * self._unit(1, dim)
        self.topics = self._unit(topics, dim)
        sizes = np.arange(1, topics + 1, dtype=np.float32) ** power
        self.scales = topical * sizes / np.linalg.norm(sizes)

    def _unit(self, count: int, dim: int) -> np.ndarray:
        return peers.unit(self.random.standard_normal((count, dim), np.float32))

    def pool(self, count: int) -> np.ndarray:
        lengths = self.random.gamma(4.0, size=(count, 1)).astype(np.float32)
        return lengths * (self.shared + self._mixtures(count, self.scales))

    def targets(self) -> np.ndarray:
        """They spread along some topics more than along others."""
        return self.shared + self._mixtures(TARGETS, np.arange(1, len(self.topics) + 1, dtype=np.float32) ** -0.5)

    def _mixtures(self, count: int, scales: np.ndarray) -> np.ndarray:
        loads = self.random.standard_normal((count, len(self.topics)), np.float32) * scales
        noise = self.random.standard_normal((count, self.topics.shape[1]), np.float32)
        return loads @ self.topics + NOISE * self.topics.shape[1] ** -0.5 * noise


class Stored:
    """Rows of stores that `encore.gradients` made, as `Rows` has them."""

    def __init__(self, pool: Path, targets: Path):
        self.stores = Store.open(pool), Store.open(targets)

    def pool(self, count: int) -> np.ndarray:
        """The first of the pool, each once: of equal rows the walk would refuse the second."""
        rows = self.stores[0][:].astype(np.float32)
        _, first = np.unique(rows, axis=0, return_index=True)
        if len(first) < count:
            raise SystemExit(f"{count} rows asked for: the pool has {len(first)} different ones")
        return rows[np.sort(first)[:count]]

    def targets(self) -> np.ndarray:
        return self.stores[1][:TARGETS].astype(np.float32)


Source = Callable[[str, int], Rows | Stored]
"""Rows of a kind and a dimension."""

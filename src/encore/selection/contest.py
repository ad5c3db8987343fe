"""The best of some rows that meets the constraints, with as few tests of them as that takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from encore.selection.ahead import Ahead
from encore.selection.constraints import Chosen, first_allowed, products
from encore.selection.rows import ROUNDING

TESTED_AT_ONCE = 8
_MOST_AT_ONCE = 1024
Testing = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


class Contest:
    """Rows whose values are known; they are tested against the constraints only as far as the largest asks for.

    Args:
        testing: tells of rows whether they may meet the constraints, and do by more than rounding; their cosines with
            the last pick; and their least with any.
        towards: what the values are cosines with; None: the last pick.
    """

    def __init__(self, chosen: Chosen, testing: Testing, towards: Float[Tensor, " dim"] | None):
        self.chosen, self.testing, self.towards = chosen, testing, towards
        self.waiting: np.ndarray = np.zeros(0, np.int64)
        self.waiting_values: np.ndarray = np.zeros(0, np.float32)
        self.clear: dict[int, bool] = {}
        """Of the rows that may meet the constraints, whether they do by more than rounding."""
        self.values: dict[int, float] = {}
        self.details: dict[int, tuple[float, float]] = {}

    def enter(self, rows: np.ndarray, values: np.ndarray) -> None:
        rows, values = np.concatenate([self.waiting, rows]), np.concatenate([self.waiting_values, values])
        order = np.argsort(-values, kind="stable")
        self.waiting, self.waiting_values = rows[order], values[order]

    def winner(self) -> int | None:
        width = TESTED_AT_ONCE
        while len(self.waiting):
            best = max((self.values[row] for row, clear in self.clear.items() if clear), default=-np.inf)
            count = min(width, int(np.count_nonzero(self.waiting_values >= best - 4 * ROUNDING)))
            if not count:
                break
            self.test(self.waiting[:count], self.waiting_values[:count])
            self.waiting, self.waiting_values = self.waiting[count:], self.waiting_values[count:]
            width = min(2 * width, _MOST_AT_ONCE)
        if not self.clear:
            return None
        best = max(self.values.values())
        level = [row for row, value in self.values.items() if value >= best - 2 * ROUNDING]
        if len(level) == 1 and self.clear[level[0]]:
            return level[0]
        rows = sorted(self.clear)
        values = torch.tensor([self.values[row] for row in rows], dtype=torch.float64)
        place = first_allowed(values, lambda places: self._exact([rows[one] for one in places]),
                              lambda one: self.clear[rows[one]])  # fmt: skip
        return None if place is None else rows[place]

    def ahead(self, row: int, via: Literal["neighbour", "fallback"]) -> Ahead:
        return Ahead(row, via, *self.details[row])

    def test(self, rows: np.ndarray, values: Float[np.ndarray, " some"] | None) -> None:
        """Keeps those of the rows that may meet the constraints; values: None for cosines with the last pick."""
        possible, clear, similarity, smallest = self.testing(rows)
        values = similarity if values is None else values
        for place in np.flatnonzero(possible):
            row = int(rows[place])
            self.clear[row], self.values[row] = bool(clear[place]), float(values[place])
            self.details[row] = float(similarity[place]), float(smallest[place])

    def _exact(self, rows: list[int]) -> Float[Tensor, " some"]:
        chosen = self.chosen
        towards = chosen.rows.exact(chosen.picks[-1:])[0] if self.towards is None else self.towards
        values = products(chosen.rows.exact(rows), towards)
        values[~chosen.allowed(rows)] = -torch.inf
        return values

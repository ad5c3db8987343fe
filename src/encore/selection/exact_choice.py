"""The next pick of a walk from the cosines of all picks so far with all rows.

Kept are, for every row of the pool, its smallest cosine with the picks and the sum of those cosines. Both constraints
then are arithmetic on vectors. Decisions closer than float32 rounding are taken again in float64, so that a walk does
not depend on block sizes, threads or devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encore.selection.ahead import Ahead
from encore.selection.constraints import Chosen, first_allowed, products
from encore.selection.rows import ROUNDING, Rows

NeighbourLists = Callable[[int], Sequence[int]]
"""A row's neighbours, most similar first."""


class ExactChoice:
    """What the cosines of the first `applied` picks say.

    Args:
        chosen: the samples of the component so far.
        taken: rows of earlier components.
        lists: neighbours by another index; None: the exact ones, found in the cosines themselves.
    """

    def __init__(self, rows: Rows, chosen: Chosen, taken: Bool[Tensor, " rows"], lists: NeighbourLists | None = None):
        self.rows, self.chosen, self.taken, self.lists = rows, chosen, taken, lists
        self.neighbours = chosen.options.neighbours
        self.forget()

    def forget(self) -> None:
        """All cosines."""
        self.applied = 0
        self.last = self.smallest = self.total = torch.empty(0)

    def apply(self, row: int, cosines: Float[Tensor, " rows"]) -> None:
        """Takes the cosines of the next pick, `row`, with all."""
        if not self.applied:
            count, device = len(self.rows), self.taken.device
            self.last = torch.full((count,), -math.inf, device=device)
            self.smallest = torch.full((count,), math.inf, device=device)
            self.total = torch.zeros(count, dtype=torch.float64, device=device)
        self.last.copy_(cosines)
        self.last[row] = -math.inf
        torch.minimum(self.smallest, cosines, out=self.smallest)
        self.smallest[row] = -math.inf  # never again
        self.total += cosines
        self.applied += 1

    def anchor(self, affinity: Float[Tensor, " rows"]) -> int | None:
        """The free row of the largest cosine with the component; None where none is free."""
        free = torch.where(self.taken, -math.inf, affinity)
        towards = self.chosen.direction
        return self._first(free, towards, lambda _: True, lambda rows: torch.ones(len(rows), dtype=torch.bool))

    def next(self, affinity: Float[Tensor, " rows"]) -> Ahead | None:
        """The next pick, after the cosines of all picks were applied; None where no row meets the constraints."""
        self.consistencies = self.chosen.consistencies(affinity.double(), self.total)
        consistent = self.consistencies >= self.chosen.bound - 4 * ROUNDING
        feasible = consistent & (self.smallest >= -ROUNDING) & ~self.taken
        found = self._neighbour(feasible)
        if found is not None:
            return Ahead(found, "neighbour", float(self.last[found]), float(self.smallest[found]))
        found = self._first(torch.where(feasible, affinity, -math.inf), self.chosen.direction, self._clear)
        if found is not None:
            return Ahead(found, "fallback", float(self.last[found]), float(self.smallest[found]))
        return None

    def _neighbour(self, feasible: Bool[Tensor, " rows"]) -> int | None:
        """The nearest feasible of the last pick's first K neighbours."""
        here = self.chosen.picks[-1]
        if self.lists is not None:
            for row in self.lists(here)[: self.neighbours]:
                if bool(feasible[row]) and (self._clear(row) or bool(self.chosen.allowed([row])[0])):
                    return int(row)
            return None
        found = self._first(torch.where(feasible, self.last, -math.inf), self.rows.exact([here])[0], self._clear)
        return found if found is not None and self._is_listed(found, here) else None

    def _first(
        self,
        values: Float[Tensor, " rows"],
        towards: Float[Tensor, " dim"],
        clear: Callable[[int], bool],
        allowed: Callable[[list[int]], Bool[Tensor, " some"]] | None = None,
    ) -> int | None:
        """The allowed row of the largest value; `values`: cosines with `towards`, −inf where a row is barred."""

        def exact(rows: list[int]) -> Tensor:
            found = products(self.rows.exact(rows), towards)
            found[~(allowed or self.chosen.allowed)(rows)] = -math.inf
            return found

        return first_allowed(values.double(), exact, clear)

    def _clear(self, row: int) -> bool:
        """Whether a feasible row meets both constraints by more than rounding."""
        agrees = bool(self.smallest[row] > ROUNDING)
        return agrees and bool(self.consistencies[row] > self.chosen.bound + 4 * ROUNDING)

    def _is_listed(self, row: int, here: int) -> bool:
        """Whether `row` is among the first K neighbours of `here`, ties by lower place."""
        if self.neighbours >= len(self.rows) - 1:
            return True
        value = self.last[row]
        before = int((self.last > value + 2 * ROUNDING).sum())
        close = ((self.last - value).abs() <= 2 * ROUNDING).nonzero()[:, 0].tolist()
        if before + len(close) <= self.neighbours:
            return True
        if before >= self.neighbours:
            return False
        exact = products(self.rows.exact(close), self.rows.exact([here])[0])
        mine = exact[close.index(row)]
        nearer = [one for one, other in zip(close, exact, strict=True) if other > mine or (other == mine and one < row)]
        return before + len(nearer) < self.neighbours

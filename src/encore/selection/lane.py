"""The walk for one principal component: which sample comes next, given cosines of the last one with all.

A lane keeps, for every row of the pool, its smallest cosine with the samples chosen so far and the sum of those
cosines. Both constraints then are arithmetic on vectors: with g unit, ‖Σs + g‖² = ‖Σs‖² + 2 Σ⟨s, g⟩ + 1.
Decisions closer than float32 rounding are taken again in float64, so that a walk does not depend on block sizes,
threads or devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encore.selection.rows import ROUNDING, Rows
from encore.selection.walk_options import WalkOptions

NeighbourLists = Callable[[int], Sequence[int]]
"""A row's neighbours, most similar first."""
_NOTHING = 1e-10
"""Length under which a sum of samples has no direction: as in the authors' code."""


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


class Lane:
    """A walk that is under way. `wants` says whose cosines it needs next; `feed` gives them, and it goes on.

    Args:
        taken: rows of earlier components, shared by all lanes.
        lists: neighbours by another index; None: the exact ones, found in the cosines themselves.
    """

    def __init__(
        self,
        component: int,
        direction: Float[Tensor, " dim"],
        budget: int,
        rows: Rows,
        options: WalkOptions,
        taken: Bool[Tensor, " rows"],
        lists: NeighbourLists | None = None,
    ):
        self.component, self.direction, self.budget = component, direction, budget
        self.rows, self.options, self.taken, self.lists = rows, options, taken, lists
        self.affinity: Float[Tensor, " rows"] | None = None
        self.steps: list[Step] = []
        self.stuck = False
        self.applied: int
        """Number of picks whose cosines are in the three vectors below."""
        self.last: Float[Tensor, " rows"]
        self.smallest: Float[Tensor, " rows"]
        self.total: Float[Tensor, " rows"]
        self._restart(0)

    @property
    def picks(self) -> list[int]:
        return [step.row for step in self.steps]

    @property
    def done(self) -> bool:
        return self.stuck or len(self.steps) == self.budget

    def wants(self) -> list[int | None]:
        """Rows whose cosines come next, in this order; None stands for the component itself."""
        if self.affinity is None:
            return [None]
        return [] if self.done else [*self.picks[self.applied :]]

    def feed(self, cosines: Float[Tensor, "queries rows"]) -> None:
        """Takes cosines of the first so many of `wants`, and chooses when all are there."""
        if self.affinity is None:
            self.affinity, cosines = cosines[0].clone(), cosines[1:]
        for found in cosines:
            row = self.steps[self.applied].row
            self.last.copy_(found)
            self.last[row] = -math.inf
            self.smallest = torch.minimum(self.smallest, found)
            self.smallest[row] = -math.inf  # never again
            self.total += found
            self.applied += 1
        self._go_on()

    def forbid(self, rows: Sequence[int]) -> None:
        """Walks again from the first pick that an earlier component turned out to have taken."""
        gone = set(rows)
        for place, step in enumerate(self.steps):
            if step.row in gone:
                self.steps, self.stuck = self.steps[:place], False
                self._restart(place)
                self._go_on()
                return

    def _restart(self, place: int) -> None:
        count, device = len(self.rows), self.taken.device
        self.applied = 0
        self.last = torch.full((count,), -math.inf, device=device)
        self.smallest = torch.full((count,), math.inf, device=device)
        self.total = torch.zeros(count, dtype=torch.float64, device=device)
        self.sum = self.rows.exact(self.picks).sum(0) if place else torch.zeros(self.rows.dim, dtype=torch.float64)

    def _go_on(self) -> None:
        if self.affinity is None or self.done or self.applied < len(self.steps):
            return
        if not self.steps:
            found = self._first(torch.where(self.taken, -math.inf, self.affinity), self.direction, anchor=True)
            if found is None:
                self.stuck = True
            else:
                self._accept(found, "anchor")
            return
        feasible = self._feasible()
        found = self._neighbour(feasible)
        if found is not None:
            self._accept(found, "neighbour")
            return
        found = self._first(torch.where(feasible, self.affinity, -math.inf), self.direction)
        if found is not None:
            self._accept(found, "fallback")
        else:
            self.stuck = True  # better fewer samples than bad ones

    def _feasible(self) -> Bool[Tensor, " rows"]:
        """Rows that meet both constraints, or miss them by no more than rounding."""
        consistent = self._consistency_of_all() >= self.options.delta * self._consistency(self.sum) - 4 * ROUNDING
        return consistent & (self.smallest >= -ROUNDING) & ~self.taken

    def _consistency_of_all(self) -> Float[Tensor, " rows"]:
        """Of the set with each row added."""
        assert self.affinity is not None
        along = self.affinity.double() + float(self.sum @ self.direction)
        lengths = (2 * self.total + (float(self.sum @ self.sum) + 1)).clamp_(min=0).sqrt_()
        found = torch.where(lengths > _NOTHING, along / lengths, 0)
        return found.abs_() if self.options.consistency == "absolute" else found

    def _consistency(self, total: Float[Tensor, " dim"]) -> float:
        length = float(torch.linalg.vector_norm(total))
        found = float(total @ self.direction) / length if length > _NOTHING else 0.0
        return abs(found) if self.options.consistency == "absolute" else found

    def _neighbour(self, feasible: Bool[Tensor, " rows"]) -> int | None:
        """The nearest feasible of the last pick's first K neighbours."""
        here = self.steps[-1].row
        if self.lists is not None:
            for row in self.lists(here)[: self.options.neighbours]:
                if bool(feasible[row]) and (self._clear(row) or self._allowed([row])[0]):
                    return int(row)
            return None
        found = self._first(torch.where(feasible, self.last, -math.inf), self.rows.exact([here])[0])
        return found if found is not None and self._is_listed(found, here) else None

    def _first(
        self, values: Float[Tensor, " rows"], towards: Float[Tensor, " dim"], anchor: bool = False
    ) -> int | None:
        """The feasible row of the largest value, ties by lower place; `values`: cosines with `towards`, −inf if barred.

        Rows within rounding of the largest are compared, and their constraints tested, in float64.
        """
        values = values.double()
        known: set[int] = set()
        while True:
            row = int(values.argmax())
            if values[row] == -math.inf:
                return None
            group = (values >= values[row] - 2 * ROUNDING).nonzero()[:, 0].tolist()
            if len(group) == 1 and (anchor or row in known or self._clear(row)):
                return row
            unknown = [one for one in group if one not in known]
            if not unknown:
                return row
            exact = self.rows.exact(unknown) @ towards
            if not anchor:
                exact[~self._allowed(unknown)] = -math.inf
            values[unknown] = exact.to(values.device)
            known.update(unknown)

    def _clear(self, row: int) -> bool:
        """Whether a feasible row meets both constraints by more than rounding."""
        if self.smallest[row] <= ROUNDING:
            return False
        bound = self.options.delta * self._consistency(self.sum)
        return bool(self._consistency_of_all()[row] > bound + 4 * ROUNDING)

    def _allowed(self, rows: Sequence[int]) -> Bool[Tensor, " rows"]:
        """Both constraints in float64."""
        added = self.rows.exact(rows)
        agree = (added @ self.rows.exact(self.picks).T >= 0).all(1)
        bound = self.options.delta * self._consistency(self.sum)
        return agree & torch.tensor([self._consistency(self.sum + one) >= bound for one in added])

    def _is_listed(self, row: int, here: int) -> bool:
        """Whether `row` is among the first K neighbours of `here`, ties by lower place."""
        if self.options.neighbours >= len(self.rows) - 1:
            return True
        value = self.last[row]
        before = int((self.last > value + 2 * ROUNDING).sum())
        close = ((self.last - value).abs() <= 2 * ROUNDING).nonzero()[:, 0].tolist()
        if before + len(close) <= self.options.neighbours:
            return True
        if before >= self.options.neighbours:
            return False
        exact = self.rows.exact(close) @ self.rows.exact([here])[0]
        mine = exact[close.index(row)]
        nearer = [one for one, other in zip(close, exact, strict=True) if other > mine or (other == mine and one < row)]
        return before + len(nearer) < self.options.neighbours

    def _accept(self, row: int, via: Literal["anchor", "neighbour", "fallback"]) -> None:
        assert self.affinity is not None
        old = None if via == "anchor" else self._consistency(self.sum)
        self.sum = self.sum + self.rows.exact([row])[0]
        self.steps.append(
            Step(
                row=row,
                component=self.component,
                budget=self.budget,
                place=len(self.steps),
                via=via,
                reached_from=None if via == "anchor" else self.steps[-1].row,
                similarity=None if via == "anchor" else float(self.last[row]),
                smallest_similarity=None if via == "anchor" else float(self.smallest[row]),
                old_consistency=old,
                new_consistency=self._consistency(self.sum),
                affinity=float(self.affinity[row]),
            )
        )

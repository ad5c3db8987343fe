"""The walk for one principal component: which sample comes next, given cosines of the last one with all.

A lane keeps, for every row of the pool, its smallest cosine with the samples chosen so far and the sum of those
cosines. Both constraints then are arithmetic on vectors. Decisions closer than float32 rounding are taken again in
float64, so that a walk does not depend on block sizes, threads or devices.

Where a sketch of the pool is given, a lane decides without these vectors while it can, and walks ahead on predictions.
It asks for the cosines that check them, many at once, and goes back to the first that was wrong: see `lookahead`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encore.selection.ahead import Prediction
from encore.selection.constraints import Chosen, first_allowed
from encore.selection.lookahead import Lookahead, Undecided
from encore.selection.rows import ROUNDING, Rows
from encore.selection.sketch import Sketch
from encore.selection.step import Step
from encore.selection.walk_options import WalkOptions

NeighbourLists = Callable[[int], Sequence[int]]
"""A row's neighbours, most similar first."""
_LONGEST_PAUSE = 64
"""Picks that a lane makes without a sketch that told it nothing time and again."""
_MOST_PREDICTED = 128
"""Predictions that may wait to be checked."""
_MOST_DOUBTFUL = 1 << 23
"""And the rows that stand against all of these, of 9 bytes each."""


class Lane:
    """A walk that is under way. `go_on` makes it choose while it can; `wants` then says whose cosines it needs, and
    `feed` gives them.

    Args:
        taken: rows of earlier components, shared by all lanes.
        lists: neighbours by another index; None: the exact ones, found in the cosines themselves.
        sketch: of the pool, on the CPU; None: every pick needs a reading.
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
        sketch: Sketch | None = None,
    ):
        self.component, self.direction, self.budget = component, direction, budget
        self.rows, self.options, self.taken, self.lists, self.sketch = rows, options, taken, lists, sketch
        self.affinity: Float[Tensor, " rows"] | None = None
        self.chosen = Chosen(rows, direction, options)
        self.steps: list[Step] = []
        self.stuck = False
        self.lookahead: Lookahead | None = None
        self.predicted: dict[int, Prediction] = {}
        """Picks that are not checked yet, by their places."""
        self.needs: Literal["nothing", "last", "all"] = "nothing"
        """Whose cosines it takes to go on: the last pick's, or all picks'."""
        self.pause, self.failures = 0, 0
        self.applied = 0
        """Number of picks whose cosines are in the three vectors below."""
        self.last: Float[Tensor, " rows"]
        self.smallest: Float[Tensor, " rows"]
        self.total: Float[Tensor, " rows"]
        self._restart(0)

    @property
    def picks(self) -> list[int]:
        return [step.row for step in self.steps]

    @property
    def ended(self) -> bool:
        """Whether there is nothing to choose, if all predictions are right."""
        return self.stuck or len(self.steps) == self.budget

    @property
    def done(self) -> bool:
        return self.ended and not self.predicted

    @property
    def checks_only(self) -> bool:
        """Whether cosines of doubtful rows are all that it wants."""
        return bool(self.predicted) and self.needs == "nothing"

    def _full(self) -> bool:
        doubtful = sum(len(one.doubtful) for one in self.predicted.values())
        return len(self.predicted) >= _MOST_PREDICTED or doubtful >= _MOST_DOUBTFUL

    def wants(self) -> list[int | None]:
        """Rows whose cosines come next, in this order; None stands for the component itself."""
        if self.affinity is None:
            return [None]
        picks = self.picks
        if self.predicted or self.needs == "last":
            return [*(picks[place - 1] for place in self.predicted), *(picks[-1:] if self.needs == "last" else [])]
        return [] if self.ended else [*picks[self.applied :]]

    def feed(self, cosines: Float[Tensor, "queries rows"]) -> None:
        """Takes cosines of the first so many of `wants`."""
        if self.affinity is None:
            self._start(cosines[0].clone())
        elif self.predicted or self.needs == "last":
            self._check(cosines.numpy())
        else:
            self._apply(cosines)

    def _start(self, affinity: Float[Tensor, " rows"]) -> None:
        self.affinity = affinity
        if self.sketch is not None:
            known = affinity.numpy(), self.taken.numpy()
            self.lookahead = Lookahead(self.sketch, self.rows, self.chosen, *known)

    def _check(self, cosines: Float[np.ndarray, "queries rows"]) -> None:
        """Holds predictions against the cosines of the picks before them with all rows."""
        assert self.lookahead is not None
        for found in cosines:
            if not self.predicted:
                self.lookahead.know(self.picks[-1], found)
                self.needs = "nothing"
                return
            place, guess = next(iter(self.predicted.items()))
            here = self.steps[place - 1].row
            if not self.check(found[guess.doubtful]):
                self.lookahead.know(here, found)
                self.needs = "nothing"
                return
            self.lookahead.learn(found)

    def check(self, cosines: Float[np.ndarray, " doubtful"]) -> bool:
        """Holds the first prediction against cosines with its doubtful rows; goes back to it if it was wrong."""
        assert self.lookahead is not None
        place, guess = next(iter(self.predicted.items()))
        if guess.stands(cosines, self.options.neighbours):
            del self.predicted[place]
            return True
        self._go_back(place)
        self.lookahead.likely = min(1.0, 2 * self.lookahead.likely)
        self.needs = "last"
        return False

    def _apply(self, cosines: Float[Tensor, "queries rows"]) -> None:
        """Brings the vectors up to date."""
        if not self.applied:
            count, device = len(self.rows), self.taken.device
            self.last = torch.full((count,), -math.inf, device=device)
            self.smallest = torch.full((count,), math.inf, device=device)
            self.total = torch.zeros(count, dtype=torch.float64, device=device)
        for found in cosines:
            row = self.steps[self.applied].row
            self.last.copy_(found)
            self.last[row] = -math.inf
            torch.minimum(self.smallest, found, out=self.smallest)
            self.smallest[row] = -math.inf  # never again
            self.total += found
            self.applied += 1
        if self.lookahead is not None:
            self.lookahead.learn(self.smallest.numpy())

    def go_on(self) -> None:
        """Chooses until it has ended or needs cosines."""
        while self.affinity is not None and not self.ended:
            if not self.steps:
                self._anchor()
            elif self.applied == len(self.steps):
                self.needs = "nothing"
                self._choose()
            elif self.lookahead is None or self.needs != "nothing" or self._full():
                return
            else:
                self._choose_ahead(self.lookahead)

    def forbid(self, rows: Sequence[int]) -> None:
        """Goes back to the first pick that an earlier component turned out to have taken."""
        gone = set(rows)
        for place, step in enumerate(self.steps):
            if step.row in gone:
                self._go_back(place)
                return

    def _go_back(self, place: int) -> None:
        """Takes back the pick at `place` and all after it."""
        self.steps = self.steps[:place]
        self.chosen.restart(self.picks)
        self._restart(place)

    def _restart(self, place: int) -> None:
        self.stuck, self.needs = False, "nothing"
        self.predicted = {one: guess for one, guess in self.predicted.items() if one < place}
        if place < self.applied or not place:
            self.applied = 0
            self.last = self.smallest = self.total = torch.empty(0)
        if self.lookahead is not None:
            self.lookahead.restart()

    def _anchor(self) -> None:
        assert self.affinity is not None
        free = torch.where(self.taken, -math.inf, self.affinity)
        found = self._first(free, self.direction, lambda _: True, lambda rows: torch.ones(len(rows), dtype=torch.bool))
        if found is None:
            self.stuck = True
        else:
            self._accept(found, "anchor")

    def _choose(self) -> None:
        """The next pick, from cosines of all with all picks."""
        assert self.affinity is not None
        self.consistencies = self.chosen.consistencies(self.affinity, self.total)
        consistent = self.consistencies >= self.chosen.bound - 4 * ROUNDING
        feasible = consistent & (self.smallest >= -ROUNDING) & ~self.taken
        found = self._neighbour(feasible)
        via: Literal["neighbour", "fallback"] = "neighbour"
        if found is None:
            found = self._first(torch.where(feasible, self.affinity, -math.inf), self.direction, self._clear)
            via = "fallback"
        if found is None:
            self.stuck = True  # better fewer samples than bad ones
        else:
            self._accept(found, via, float(self.last[found]), float(self.smallest[found]))

    def _choose_ahead(self, lookahead: Lookahead) -> None:
        """The next pick, from bounds on the cosines of the last ones; or says whose cosines it takes."""
        current = self.applied == len(self.steps) - 1 and not self.predicted  # one reading, and the vectors are there
        if current and self.pause:
            self.pause -= 1
            self.needs = "all"
            return
        try:
            found = lookahead.next(None if self.lists is None else self.lists(self.steps[-1].row))
        except Undecided:
            if current or lookahead.knows(self.steps[-1].row):
                self.needs = "all"
                self.pause = min(_LONGEST_PAUSE, (1 << self.failures) - 1)
                self.failures = min(self.failures + 1, 16)
            else:
                self.needs = "last"
            return
        self.failures = 0
        if found is None:
            self.stuck = True
            return
        if isinstance(found, Prediction):
            self.predicted[len(self.steps)] = found
        self._accept(found.row, found.via, found.similarity, found.smallest_similarity)

    def _neighbour(self, feasible: Bool[Tensor, " rows"]) -> int | None:
        """The nearest feasible of the last pick's first K neighbours."""
        here = self.steps[-1].row
        if self.lists is not None:
            for row in self.lists(here)[: self.options.neighbours]:
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
            found = self.rows.exact(rows) @ towards
            found[~(allowed or self.chosen.allowed)(rows)] = -math.inf
            return found

        return first_allowed(values.double(), exact, clear)

    def _clear(self, row: int) -> bool:
        """Whether a feasible row meets both constraints by more than rounding."""
        agrees = bool(self.smallest[row] > ROUNDING)
        return agrees and bool(self.consistencies[row] > self.chosen.bound + 4 * ROUNDING)

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

    def _accept(
        self,
        row: int,
        via: Literal["anchor", "neighbour", "fallback"],
        similarity: float | None = None,
        smallest_similarity: float | None = None,
    ) -> None:
        assert self.affinity is not None
        old = None if via == "anchor" else self.chosen.current
        self.chosen.add(row)
        self.steps.append(
            Step(
                row=row,
                component=self.component,
                budget=self.budget,
                place=len(self.steps),
                via=via,
                reached_from=None if via == "anchor" else self.steps[-1].row,
                similarity=similarity,
                smallest_similarity=smallest_similarity,
                old_consistency=old,
                new_consistency=self.chosen.current,
                affinity=float(self.affinity[row]),
            )
        )

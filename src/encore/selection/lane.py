"""The walk for one principal component: which sample comes next, given cosines of the last one with all.

What the cosines of all picks with all rows say is in `exact_choice`. Where a sketch of the pool is given, a lane
decides without them while it can, and walks ahead on predictions. It asks for the cosines that check them, many at
once, and goes back to the first that was wrong: see `lookahead`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encore.selection.ahead import Prediction
from encore.selection.bounds import Bounds
from encore.selection.constraints import Chosen
from encore.selection.exact_choice import ExactChoice, NeighbourLists
from encore.selection.lookahead import Lookahead, Undecided
from encore.selection.rows import ROUNDING, Rows
from encore.selection.step import Step
from encore.selection.walk_options import WalkOptions

_LONGEST_PAUSE = 64
"""Picks that a lane makes without a sketch that told it nothing time and again."""
_MOST_PREDICTED = 128
"""Predictions that may wait to be checked."""
_MOST_DOUBTFUL = 1 << 23
"""And the rows that stand against all of these, of 9 bytes each."""


_WIDER = 1.2
"""How much more a lane allows for after a wrong prediction."""


class Lane:
    """A walk that is under way. `go_on` makes it choose while it can; `wants` then says whose cosines it needs, and
    `feed` gives them.

    Args:
        taken: rows that no component may have.
        lists: neighbours by another index; None: the exact ones, found in the cosines themselves.
        bounds: what a sketch of the pool on the CPU tells; None: every pick needs a reading.
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
        bounds: Bounds | None = None,
    ):
        self.component, self.direction, self.budget = component, direction, budget
        self.rows, self.options, self.lists, self.bounds = rows, options, lists, bounds
        self.excluded, self.taken = taken, taken.clone()
        self.avoided: dict[int, int] = {}
        """Rows of earlier components, with the place of the first pick that may depend on it."""
        self.left: set[int] = set()
        """Picks that were taken back and, as most of them will, may come again."""
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
        self.exact = ExactChoice(rows, self.chosen, self.taken, lists)
        self._restart(0)

    @property
    def picks(self) -> list[int]:
        return [step.row for step in self.steps]

    @property
    def likely_picks(self) -> set[int]:
        """Its picks so far, and those that it likely will have."""
        return {*self.picks, *(() if self.ended else self.left)}

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
        return [] if self.ended else [*picks[self.exact.applied :]]

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
        if self.bounds is not None:
            known = affinity.numpy(), self.taken.numpy()
            self.lookahead = Lookahead(self.bounds, self.rows, self.chosen, *known)

    def _check(self, cosines: Float[np.ndarray, "queries rows"]) -> None:
        """Holds predictions against the cosines of the picks before them with all rows."""
        assert self.lookahead is not None
        for found in cosines:
            if not self.predicted:
                self.lookahead.learn(self.picks[-1], found)
                self.needs = "nothing"
                return
            if not self.check(found, whole=True):
                return

    def check(self, cosines: Float[np.ndarray, " some"], *, whole: bool = False) -> bool:
        """Holds the first prediction against cosines with its doubtful rows, or with all; goes back to it if it was
        wrong."""
        assert self.lookahead is not None
        place, guess = next(iter(self.predicted.items()))
        stands = guess.stands(cosines[guess.doubtful] if whole else cosines, self.options.neighbours)
        here = self.steps[place - 1].row
        self.lookahead.learn(here, cosines, None if whole else guess.doubtful, again=not stands)
        if stands:
            del self.predicted[place]
            return True
        self._go_back(place)
        self.lookahead.likely = min(1.0, _WIDER * self.lookahead.likely)
        return False

    def _apply(self, cosines: Float[Tensor, "queries rows"]) -> None:
        """Brings the exact choice up to date."""
        for found in cosines:
            self.exact.apply(self.steps[self.exact.applied].row, found)
        if self.lookahead is not None:
            self.lookahead.learn_least(self.exact.smallest.numpy())

    def go_on(self) -> None:
        """Chooses until it has ended or needs cosines."""
        while self.affinity is not None and not self.ended:
            if not self.steps:
                self._anchor()
            elif self.exact.applied == len(self.steps):
                self.needs = "nothing"
                self._choose()
            elif self.lookahead is None or self.needs != "nothing" or self._full():
                return
            else:
                self._choose_ahead(self.lookahead)
        if self.ended:
            self.left.clear()

    def avoid(self, rows: set[int]) -> None:
        """Keeps away from `rows`, which earlier components have or likely will have, and from no others of before.

        Goes back to the first pick that is one of them, or that might have been one that no longer is.
        """
        picked = [place for place, step in enumerate(self.steps) if step.row in rows]
        free = [row for row in self.avoided if row not in rows]
        place = min([*picked, self._first_better(free)])
        for row in free:
            del self.avoided[row]
        self.taken[free] = self.excluded[free]
        if place < len(self.steps):
            self._go_back(place)
        elif free:
            self.stuck = False
        new = [row for row in rows if row not in self.avoided]
        self.avoided |= dict.fromkeys(new, len(self.steps))
        self.taken[new] = True

    def _first_better(self, rows: list[int]) -> int:
        """The first pick in whose place one of these rows, which were avoided, might be; their number if there is none.

        Where a pick is a neighbour, only a row that is as near to the pick before it might.
        """
        if not rows or not self.steps:
            return len(self.steps)
        assert self.affinity is not None
        cosines = self.rows.unit(rows) @ self.rows.unit(self.picks).T
        anchor = self.affinity[[self.steps[0].row]].cpu()
        values = torch.cat([self.affinity[rows].cpu()[:, None], cosines[:, :-1]], 1)
        found = [float("-inf") if one.via == "fallback" else one.similarity or 0.0 for one in self.steps[1:]]
        better = values >= torch.cat([anchor, torch.tensor(found)]) - 4 * ROUNDING
        better &= torch.arange(len(self.steps)) >= torch.tensor([self.avoided[row] for row in rows])[:, None]
        return int(better.any(0).int().argmax()) if bool(better.any()) else len(self.steps)

    def _go_back(self, place: int) -> None:
        """Takes back the pick at `place` and all after it."""
        self.left |= {step.row for step in self.steps[place:]}
        self.avoided = {row: min(since, place) for row, since in self.avoided.items()}
        self.steps = self.steps[:place]
        self.chosen.restart(self.picks)
        self._restart(place)

    def _restart(self, place: int) -> None:
        self.stuck, self.needs = False, "nothing"
        self.predicted = {one: guess for one, guess in self.predicted.items() if one < place}
        if place < self.exact.applied or not place:
            self.exact.forget()
        if self.lookahead is not None:
            self.lookahead.restart()

    def _anchor(self) -> None:
        assert self.affinity is not None
        found = self.exact.anchor(self.affinity)
        if found is None:
            self.stuck = True
        else:
            self._accept(found, "anchor")

    def _choose(self) -> None:
        """The next pick, from cosines of all with all picks."""
        assert self.affinity is not None
        found = self.exact.next(self.affinity)
        if found is None:
            self.stuck = True  # better fewer samples than bad ones
        else:
            self._accept(found.row, found.via, found.similarity, found.smallest_similarity)

    def _choose_ahead(self, lookahead: Lookahead) -> None:
        """The next pick, from bounds on the cosines of the last ones; or says whose cosines it takes."""
        # After one reading the exact choice would know all.
        current = self.exact.applied == len(self.steps) - 1 and not self.predicted
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

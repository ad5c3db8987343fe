"""The next pick of a walk from bounds on its cosines and a few exact rows, without reading the pool.

A sketch bounds the cosine of the last pick with every row. Rows that may be the nearest are read themselves, the most
promising first, until the bound of all others is below the best one found that meets the constraints: then it is the
nearest, whatever the exact cosines of the others are. Where that takes too many rows, the pick is a prediction: all
that stands against it is that rows whose cosines likely are lower have not been read. Predictions are checked later,
many in one reading of the pool. So a sketch changes how much is read and never what is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from encore.selection.ahead import Ahead, Prediction
from encore.selection.constraints import Chosen
from encore.selection.contest import TESTED_AT_ONCE, Contest
from encore.selection.rows import ROUNDING, Rows
from encore.selection.sketch import Sketch

_SHARE = 128
_FEWEST = 64
"""For one pick one in so many rows may be read, or so many rows: more cost what a query of a wide reading costs."""
_FIRST = 8
_ROWS_AT_ONCE = 1024


class Undecided(Exception):
    """Bounds and a few rows do not tell which pick is next."""


class Lookahead:
    """What bounds say of a component's samples `chosen`, which may be ahead of those that `add` was told of.

    Args:
        affinity: cosines of the component with all rows, float32.
        taken: rows of other components.
    """

    def __init__(
        self,
        sketch: Sketch,
        rows: Rows,
        chosen: Chosen,
        affinity: Float[np.ndarray, " rows"],
        taken: Bool[np.ndarray, " rows"],
    ):
        self.sketch, self.rows, self.chosen, self.affinity, self.taken = sketch, rows, chosen, affinity, taken
        self.most = max(_FEWEST, len(rows) // _SHARE)
        self.likely = sketch.likely
        self.known: tuple[int, Float[np.ndarray, " rows"]] | None = None
        """A pick whose cosines have been read."""
        self.restart()

    def restart(self) -> None:
        """Forgets all picks."""
        self.highest = np.full(len(self.rows), np.inf, np.float32)
        """At least the smallest cosine of each row with the picks."""
        self.picked = torch.empty(16, self.rows.dim)
        """Unit rows of the picks, and room for more."""
        self.count = 0

    def catch_up(self) -> None:
        """Takes picks into account that were chosen since."""
        for row in self.chosen.picks[self.count :]:
            near, margin = self.sketch.about(row)
            np.minimum(self.highest, near + margin, out=self.highest)
            self.highest[row] = -np.inf  # never again
            if self.count == len(self.picked):
                self.picked = torch.cat([self.picked, torch.empty_like(self.picked)])
            self.picked[self.count] = self.rows.unit([row])[0] if row != self.chosen.picks[-1] else self.chosen.newest
            self.count += 1
            self.near, self.margin = near, margin

    def learn(self, cosines: Float[np.ndarray, " rows"]) -> None:
        """Takes cosines with a pick, or the smallest with several, as a reading of the pool gave them."""
        np.minimum(self.highest, cosines + np.float32(ROUNDING), out=self.highest)

    def know(self, row: int, cosines: Float[np.ndarray, " rows"]) -> None:
        """Takes the cosines of the last pick, which then need no bounds."""
        self.known = row, cosines.copy()
        self.learn(cosines)

    def knows(self, row: int) -> bool:
        return self.known is not None and self.known[0] == row

    def next(self, listed: Sequence[int] | None = None) -> Ahead | None:
        """The next pick, certain or predicted; None where it is certain that no row meets the constraints.

        Args:
            listed: neighbours of the last pick by another index, most similar first; None: the exact ones.

        Raises:
            Undecided: the pool has to be read.
        """
        self.catch_up()
        self.left = self.most
        here = self.chosen.picks[-1]
        if self.known is not None and self.knows(here):
            self.near, self.margin = self.known[1], np.full(len(self.rows), ROUNDING, np.float32)
        barred = self.taken | (self.highest < -ROUNDING)
        if listed is not None:
            found = self._first_listed([row for row in listed[: self.chosen.options.neighbours] if not barred[row]])
            if found is not None:
                return found
        else:
            bounds = np.where(barred, -np.inf, self.near + self.margin)
            guesses = bounds - np.float32(1 - self.likely) * self.margin
            found = self._best(bounds, guesses, self._cosines, None, "neighbour")
            if found is None or isinstance(found, Prediction):
                return found  # where no row at all meets the constraints a fallback would not either
            listed_too = self._is_listed(found.similarity, here)
            if listed_too is None:
                return self._predicted(found, np.zeros(0, np.int64))
            if listed_too:
                return found
        bounds = np.where(barred, -np.inf, self.affinity + np.float32(ROUNDING))
        found = self._best(bounds, bounds.copy(), self.affinity.__getitem__, self.chosen.direction, "fallback")
        if isinstance(found, Prediction):
            raise Undecided
        return found

    def _best(
        self,
        bounds: Float[np.ndarray, " rows"],
        guesses: Float[np.ndarray, " rows"],
        values_of: Callable[[np.ndarray], Float[np.ndarray, " some"]],
        towards: Float[Tensor, " dim"] | None,
        via: Literal["neighbour", "fallback"],
    ) -> Ahead | None:
        """The allowed row of the largest value, ties by lower place.

        Args:
            bounds: at least the values, −inf where a row is barred. Changed.
            guesses: likely at least the values, −inf where a row is barred. Changed.
            values_of: values of some rows within rounding: their cosines with `towards`.
            towards: a direction; None: the last pick.
        """
        contest = Contest(self.chosen, self.test, towards)
        width = _FIRST
        while True:
            found = contest.winner()
            if found is None:
                chunk = self._promising(guesses, width) if towards is None else _highest(guesses, width)
                if not len(chunk):
                    return None
            else:
                least = contest.values[found] - 4 * ROUNDING
                chunk = np.flatnonzero(guesses >= least)
                if not len(chunk):  # likely the one: is it for certain?
                    chunk = np.flatnonzero(bounds >= least)
                    if not len(chunk):
                        return contest.ahead(found, via)
                    if len(chunk) > self.left:
                        return self._predicted(contest.ahead(found, via), chunk)
            self.left -= len(chunk)
            if self.left < 0:
                raise Undecided
            bounds[chunk] = guesses[chunk] = -np.inf
            if towards is None and len(chunk) <= TESTED_AT_ONCE:
                contest.test(chunk, None)  # which finds the values too
            else:
                contest.enter(chunk, values_of(chunk))
            width *= 4

    def _promising(self, guesses: Float[np.ndarray, " rows"], width: int) -> np.ndarray:
        """Rows that are likely as near as the one with the highest guess; the highest `width`, if they are more."""
        first = int(guesses.argmax())
        least = self.near[first] - self.likely * self.margin[first]
        found = np.flatnonzero(guesses >= min(least, guesses[first]))
        return found[_highest(guesses[found], width)]

    def _first_listed(self, rows: list[int]) -> Ahead | None:
        """The first allowed one of these neighbours."""
        for start in range(0, len(rows), TESTED_AT_ONCE):
            part = np.asarray(rows[start : start + TESTED_AT_ONCE])
            possible, clear, similarity, smallest = self.test(part)
            for place, row in enumerate(part.tolist()):
                if clear[place] or (possible[place] and bool(self.chosen.allowed([row])[0])):
                    return Ahead(row, "neighbour", float(similarity[place]), float(smallest[place]))
        return None

    def _predicted(self, found: Ahead, rivals: Int[np.ndarray, " some"]) -> Prediction:
        """A pick that rows stand against; if it likely is among the first K neighbours.

        Where that is not certain, all rows that may be nearer are doubtful, those too that cannot be picked.
        """
        most, here, value = self.chosen.options.neighbours, self.chosen.picks[-1], np.float32(found.similarity)
        if most >= len(self.rows) - 1:
            return Prediction(**vars(found), doubtful=rivals, rival=np.ones(len(rivals), bool))
        possibly = self.near + self.margin >= value - np.float32(4 * ROUNDING)
        possibly[here] = False
        if np.count_nonzero(possibly) <= most:
            return Prediction(**vars(found), doubtful=rivals, rival=np.ones(len(rivals), bool))
        if self.knows(here) or np.count_nonzero(self.near >= value) > most:
            raise Undecided
        doubtful = np.flatnonzero(possibly)
        is_rival = np.zeros(len(possibly), bool)
        is_rival[rivals] = True
        return Prediction(**vars(found), doubtful=doubtful, rival=is_rival[doubtful])

    def _is_listed(self, value: float, here: int) -> bool | None:
        """Whether a row with this cosine is among the first K neighbours of `here`; None: bounds do not tell."""
        most = self.chosen.options.neighbours
        if most >= len(self.rows) - 1:
            return True
        possibly = self.near + self.margin >= np.float32(value - 2 * ROUNDING)
        possibly[here] = False
        if np.count_nonzero(possibly) <= most:
            return True
        surely = self.near - self.margin > np.float32(value + 2 * ROUNDING)
        surely[here] = False
        if np.count_nonzero(surely) >= most:
            return False
        return None

    def _cosines(self, rows: np.ndarray) -> Float[np.ndarray, " some"]:
        """With the last pick."""
        last = self.picked[self.count - 1]
        parts = [self.rows.unit(rows[at : at + _ROWS_AT_ONCE]) @ last for at in range(0, len(rows), _ROWS_AT_ONCE)]
        return torch.cat(parts).numpy() if parts else np.zeros(0, np.float32)

    def test(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Whether rows may meet the constraints, and do by more than rounding; cosines with the last pick; least."""
        unit = self.rows.unit(rows)
        cosines = unit @ self.picked[: self.count].T
        smallest = cosines.amin(1)
        new = self.chosen.consistencies(torch.from_numpy(self.affinity[rows]), unit.double() @ self.chosen.sum)
        bound = self.chosen.bound
        possible = (smallest >= -ROUNDING) & (new >= bound - 4 * ROUNDING)
        clear = (smallest > ROUNDING) & (new > bound + 4 * ROUNDING)
        return possible.numpy(), clear.numpy(), cosines[:, -1].numpy(), smallest.numpy()


def _highest(values: Float[np.ndarray, " rows"], count: int) -> np.ndarray:
    """Places of the `count` largest values above −inf, in no order."""
    if count < len(values):
        found = np.argpartition(values, len(values) - count)[len(values) - count :]
    else:
        found = np.arange(len(values))
    return found[values[found] > -np.inf]

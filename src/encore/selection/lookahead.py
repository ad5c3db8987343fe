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
from jaxtyping import Bool, Float, Int
from torch import Tensor

from encore.selection.ahead import Ahead, Prediction
from encore.selection.bounds import Around, Bounds
from encore.selection.constraints import Chosen
from encore.selection.contest import TESTED_AT_ONCE, Contest
from encore.selection.rows import ROUNDING, Rows

_SHARE = 128
_FEWEST = 64
"""For one pick one in so many rows may be read, or so many rows: more cost what a query of a wide reading costs."""
_SHARE_AT_ALL = 16
"""And one in so many before the walk has to wait for a reading."""
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
        bounds: Bounds,
        rows: Rows,
        chosen: Chosen,
        affinity: Float[np.ndarray, " rows"],
        taken: Bool[np.ndarray, " rows"],
    ):
        self.bounds, self.rows, self.chosen, self.affinity, self.taken = bounds, rows, chosen, affinity, taken
        self.most = max(_FEWEST, len(rows) // _SHARE)
        self.most_at_all = max(self.most, len(rows) // _SHARE_AT_ALL)
        self.likely = bounds.sketch.likely
        self.known: tuple[int, Around] | None = None
        """The pick of which cosines were read last."""
        self.restart()

    def restart(self) -> None:
        """Forgets all picks."""
        self.highest = np.full(len(self.rows), np.inf, np.float32)
        """At least the smallest cosine of each row with the picks."""
        self.picked = np.empty((16, self.rows.dim), np.float32)
        """Unit rows of the picks, and room for more."""
        self.count = 0

    def catch_up(self) -> None:
        """Takes picks into account that were chosen since."""
        for row in self.chosen.picks[self.count :]:
            self.here = self._around(row)
            np.minimum(self.highest, self.here.upper, out=self.highest)
            self.highest[row] = -np.inf  # never again
            if self.count == len(self.picked):
                self.picked = np.concatenate([self.picked, np.empty_like(self.picked)])
            self.picked[self.count] = self.rows.unit([row])[0] if row != self.chosen.picks[-1] else self.chosen.newest
            self.count += 1

    def _around(self, row: int) -> Around:
        return self.known[1] if self.known is not None and self.known[0] == row else self.bounds.around(row)

    def learn(
        self,
        row: int,
        cosines: Float[np.ndarray, " some"],
        places: Int[np.ndarray, " some"] | None = None,
        *,
        again: bool = True,
    ) -> None:
        """Takes cosines of a pick with the rows at `places`, or with all, as a reading of the pool gave them.

        Args:
            again: whether the pick is the one to go on from: then nothing of it may be forgotten, or a lane might be
                wrong in the same way again.
        """
        where = slice(None) if places is None else places
        self.highest[where] = np.minimum(self.highest[where], cosines + np.float32(ROUNDING))
        if again or row in self.bounds.kept:
            found = self._around(row)
            found.learn(cosines, places)
            self.known = (row, found) if again else self.known

    def learn_least(self, cosines: Float[np.ndarray, " rows"]) -> None:
        """Takes the smallest cosines of all rows with some picks."""
        np.minimum(self.highest, cosines + np.float32(ROUNDING), out=self.highest)

    def knows(self, row: int) -> bool:
        """Whether all cosines of this pick have been read."""
        return self._around(row).complete

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
        barred = self.taken | (self.highest < -ROUNDING)
        if listed is not None:
            found = self._first_listed([row for row in listed[: self.chosen.options.neighbours] if not barred[row]])
            if found is not None:
                return found
        else:
            bounds = np.where(barred, -np.inf, self.here.upper)
            guesses = bounds - np.float32(1 - self.likely) * self.here.margin
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
                elif len(chunk) > self.left and towards is None:
                    known = chunk[self.here.margin[chunk] <= np.float32(ROUNDING)]
                    if self.left > 0:
                        chunk = chunk[_highest(guesses[chunk], self.left)]
                    elif len(known):  # a check would find them again
                        chunk = known
                    else:
                        return self._predicted(contest.ahead(found, via), np.flatnonzero(bounds >= least))
            self.left -= len(chunk)
            if self.left < self.most - self.most_at_all:
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
        least = self.here.near[first] - self.likely * self.here.margin[first]
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
        possibly = self.here.upper >= value - np.float32(4 * ROUNDING)
        possibly[here] = False
        if np.count_nonzero(possibly) <= most:
            return Prediction(**vars(found), doubtful=rivals, rival=np.ones(len(rivals), bool))
        if self.here.read or np.count_nonzero(self.here.near >= value) > most:
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
        possibly = self.here.upper >= np.float32(value - 2 * ROUNDING)
        possibly[here] = False
        if np.count_nonzero(possibly) <= most:
            return True
        surely = self.here.near - self.here.margin > np.float32(value + 2 * ROUNDING)
        surely[here] = False
        if np.count_nonzero(surely) >= most:
            return False
        return None

    def _cosines(self, rows: np.ndarray) -> Float[np.ndarray, " some"]:
        """With the last pick."""
        starts = range(0, len(rows), _ROWS_AT_ONCE)
        parts = [self.rows.cosines_of(rows[at : at + _ROWS_AT_ONCE], self.picked[self.count - 1]) for at in starts]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def test(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Whether rows may meet the constraints, and do by more than rounding; cosines with the last pick; least."""
        unit = self.rows.unit(rows).numpy()
        cosines = self.picked[: self.count] @ unit.T
        smallest = cosines.min(0)
        along, total = self.affinity[rows].astype(np.float64), unit.astype(np.float64) @ self.chosen.sum.numpy()
        new, bound = self.chosen.consistencies(along, total), self.chosen.bound
        possible = (smallest >= -ROUNDING) & (new >= bound - 4 * ROUNDING)
        clear = (smallest > ROUNDING) & (new > bound + 4 * ROUNDING)
        return possible, clear, cosines[-1], smallest


def _highest(values: Float[np.ndarray, " rows"], count: int) -> np.ndarray:
    """Places of the `count` largest values above −inf, in no order."""
    if count < len(values):
        found = np.argpartition(values, len(values) - count)[len(values) - count :]
    else:
        found = np.arange(len(values))
    return found[values[found] > -np.inf]

"""Both constraints on a component's set of samples, in float64, and the choice of a row where float32 leaves doubt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encore.selection.rows import ROUNDING, Rows
from encore.selection.walk_options import WalkOptions

Array = TypeVar("Array", Tensor, np.ndarray)
NOTHING = 1e-10
"""Length under which a sum of samples has no direction: as in the authors' code."""


class Chosen:
    """The samples of one component so far, and which others may join them.

    Args:
        direction: the component, a unit vector in float64.
    """

    def __init__(self, rows: Rows, direction: Float[Tensor, " dim"], options: WalkOptions):
        self.rows, self.direction, self.options = rows, direction, options
        self.restart([])

    def restart(self, picks: Sequence[int]) -> None:
        self.picks = list(picks)
        units = self.rows.exact(self.picks)
        self.newest = units[-1] if picks else torch.zeros(self.rows.dim, dtype=torch.float64)
        """Unit row of the last pick, in float64."""
        self._become(units.sum(0))

    def add(self, row: int) -> None:
        self.picks.append(row)
        self.newest = self.rows.exact([row])[0]
        self._become(self.sum + self.newest)

    def _become(self, total: Float[Tensor, " dim"]) -> None:
        self.sum = total
        self.along, self.squared = float(total @ self.direction), float(total @ total)
        self.current = self._consistency(self.along, self.squared)
        """Consistency of the set."""

    @property
    def bound(self) -> float:
        """Least consistency of the set with a row added (constraint 6)."""
        return self.options.delta * self.current

    def _consistency(self, along: float, squared: float) -> float:
        """Of a set whose sum has this product with the component, and this square: their cosine; absolute unless the
        options say signed."""
        length = math.sqrt(squared)
        found = along / length if length > NOTHING else 0.0
        return abs(found) if self.options.consistency == "absolute" else found

    def consistencies(self, affinity: Array, total: Array) -> Array:
        """Of the set with each of some rows added, which have these cosines with the component, and these products
        with the sum, all in float64.

        With g unit, ‖Σs + g‖² = ‖Σs‖² + 2 ⟨Σs, g⟩ + 1.
        """
        lengths = (2 * total + (self.squared + 1)).clip(0) ** 0.5
        found = (affinity + self.along) / lengths.clip(NOTHING) * (lengths > NOTHING)
        return abs(found) if self.options.consistency == "absolute" else found

    def allowed(self, rows: Sequence[int]) -> Bool[Tensor, " rows"]:
        """Both constraints in float64."""
        added = self.rows.exact(rows)
        agree = (added @ self.rows.exact(self.picks).T >= 0).all(1)
        sums = [self.sum + one for one in added]
        new = [self._consistency(float(one @ self.direction), float(one @ one)) for one in sums]
        return agree & (torch.tensor(new) >= self.bound)


def products(rows: Float[Tensor, "rows dim"], towards: Float[Tensor, " dim"]) -> Float[Tensor, " rows"]:
    """Inner products, of equal rows exactly equal: a product of matrices rounds by a row's place among the others."""
    return (rows * towards).sum(1)


def first_allowed(
    values: Float[Tensor, " rows"],
    exact: Callable[[list[int]], Float[Tensor, " some"]],
    clear: Callable[[int], bool],
) -> int | None:
    """Place of the largest value, ties by lower place; None where all are −inf.

    Args:
        values: within rounding, float64; −inf where a row is barred. Changed.
        exact: values of some places in float64, −inf for those that do not meet the constraints.
        clear: whether a place meets the constraints by more than rounding.
    """
    known: set[int] = set()
    while True:
        place = int(values.argmax())
        if values[place] == -math.inf:
            return None
        group = (values >= values[place] - 2 * ROUNDING).nonzero()[:, 0].tolist()
        if len(group) == 1 and (place in known or clear(place)):
            return place
        unknown = [one for one in group if one not in known]
        if not unknown:
            return place
        values[unknown] = exact(unknown).to(values.device)
        known.update(unknown)

"""What is known of the cosines of picks with all rows: bounds from a sketch, and what readings of the pool told since.

Walks that go back come to many of the same picks again, so the last ones asked for are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from encore.selection.rows import ROUNDING
from encore.selection.sketch import Sketch

_MEMORY = 1 << 28
"""Of what is kept, for all lanes together."""
_BYTES_A_ROW = 12
"""Of an `Around`."""


@dataclass
class Around:
    """The cosines of one row with all, by how much each may be off, and what it is at most."""

    near: Float[np.ndarray, " rows"]
    margin: Float[np.ndarray, " rows"]
    upper: Float[np.ndarray, " rows"] = field(init=False)
    read: bool = False
    """Whether some come from a reading of the pool."""
    complete: bool = False
    """Whether all do."""

    def __post_init__(self) -> None:
        self.upper = self.near + self.margin

    def learn(self, cosines: Float[np.ndarray, " some"], places: Int[np.ndarray, " some"] | None) -> None:
        """Takes the cosines with the rows at `places`, or with all, in float32."""
        self.read, self.complete = True, self.complete or places is None
        where = slice(None) if places is None else places
        self.near[where] = cosines
        self.margin[where] = ROUNDING
        self.upper[where] = cosines + np.float32(ROUNDING)


class Bounds:
    """Of a pool of which there is a sketch."""

    def __init__(self, sketch: Sketch):
        self.sketch = sketch
        self.kept: OrderedDict[int, Around] = OrderedDict()
        self.most = max(1, _MEMORY // (_BYTES_A_ROW * len(sketch.outside)))

    def around(self, row: int) -> Around:
        found = self.kept.pop(row, None) or Around(*self.sketch.about(row))
        self.kept[row] = found
        if len(self.kept) > self.most:
            self.kept.popitem(last=False)
        return found

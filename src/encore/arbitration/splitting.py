"""One score an example, one threshold, two halves.

Source: PRISM (arXiv 2601.07224), section 2, equations 2 and 3; figure 4 for fractions other than a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from encore.errors import UserError


@dataclass(frozen=True)
class Split:
    """Places of the examples to imitate and of those to explore, each in rising order; an example is in one at most."""

    sft: list[int] = field(default_factory=list)
    rl: list[int] = field(default_factory=list)


def split(
    scores: Float[np.ndarray, " examples"] | Sequence[float],
    rl_fraction: float = 0.5,
    *,
    non_finite: Literal["raise", "exclude"] = "raise",
) -> Split:
    """Scores above the (1 − `rl_fraction`) quantile go to RL, the rest to SFT.

    At the default the threshold is the median (the mean of the two middle scores where their number is even). A score
    equal to the threshold goes to SFT, so with many ties RL gets less than its fraction. 0 sends all to SFT, 1 to RL.

    Args:
        scores: one number an example, a numpy array, a tensor or a list.
        non_finite: "raise", or "exclude": an example whose score is NaN or infinite is in neither half, and has no part
            in the threshold.

    Raises:
        UserError: a fraction outside 0 to 1; a non-finite score, under "raise".
    """
    if not 0 <= rl_fraction <= 1:
        raise UserError(f"rl_fraction is {rl_fraction}: it must be between 0 and 1")
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise UserError(f"scores are one number an example, not of shape {list(values.shape)}")
    finite = np.isfinite(values)
    if not finite.all() and non_finite == "raise":
        raise UserError(
            f'the score of example {int((~finite).argmax())} is not finite: drop it, or pass non_finite="exclude"'
        )
    if not finite.any():
        return Split()
    above = values > np.quantile(values[finite], 1 - rl_fraction)
    if rl_fraction == 1:  # the quantile is the least score, which would tie with itself
        above = finite
    return Split(sft=np.flatnonzero(finite & ~above).tolist(), rl=np.flatnonzero(finite & above).tolist())

"""One score an example, one threshold, two halves.

Source: PRISM (arXiv 2601.07224), section 2, equations 2 and 3; figure 4 for fractions other than a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from encore.errors import UserError


@dataclass(frozen=True)
class Split:
    """Places of the examples to imitate and of those to explore, each in rising order.

    An example is in one of them at most, unless the arm declares an overlap (`shared` holds the places in both).
    """

    sft: list[int] = field(default_factory=list)
    rl: list[int] = field(default_factory=list)

    @property
    def shared(self) -> list[int]:
        """Places that are imitated and explored."""
        return sorted(set(self.sft) & set(self.rl))


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


def inverse(scores: Float[np.ndarray, " examples"] | Sequence[float], rl_fraction: float = 0.5) -> Split:
    """Scores up to the `rl_fraction` quantile go to RL, those above it to SFT: `split` with its halves exchanged.

    At a half this is the exact complement of `split`, whatever the ties and however odd their number: every example
    takes the other way. So the median of an odd number, and all that tie with it, go to SFT in `split` and to RL here;
    the inverse imitates one example less in the first case and, with many ties, fewer by as many as there are.
    Raises what `split` raises.
    """
    exchanged = split(scores, 1 - rl_fraction)
    return Split(sft=exchanged.rl, rl=exchanged.sft)


def ranks(scores: Float[np.ndarray, " examples"], generator: np.random.Generator) -> Int[np.ndarray, " examples"]:
    """The place of each score in rising order, ties in an order drawn by `generator`: every split of them is exact.

    Raises UserError for a score that is not finite.
    """
    if not np.isfinite(scores).all():
        raise UserError(f"the score of example {int((~np.isfinite(scores)).argmax())} is not finite: drop the example")
    result = np.empty(len(scores), dtype=np.int64)
    result[np.lexsort((generator.permutation(len(scores)), scores))] = np.arange(len(scores))
    return result


def stratified(strata: np.ndarray, rl_fraction: float, generator: np.random.Generator) -> Split:
    """A split at random within each stratum: every stratum sends `rl_fraction` of its examples to RL.

    Shares are rounded down, and the strata with the largest remainders (ties at random) send one more, until as many go
    to RL as `split` would send of distinct scores. So no stratum is off its share by one example or more.

    Args:
        strata: the name or number of each example's stratum, [examples].
    """
    total = len(split(np.arange(len(strata)), rl_fraction).rl)
    _, stratum = np.unique(strata, return_inverse=True)
    sizes = np.bincount(stratum)
    wanted = rl_fraction * sizes
    sent = np.floor(wanted + 1e-9).astype(int)  # a product such as 0.3 * 10 may lie just below its whole number
    remainders = np.round(wanted - sent, 9)
    by_remainder = np.lexsort((generator.random(len(sizes)), -remainders))
    sent[by_remainder[: total - sent.sum()]] += 1
    rl = np.concatenate(
        [generator.permutation(np.flatnonzero(stratum == place))[:number] for place, number in enumerate(sent)]
    )
    chosen = np.isin(np.arange(len(strata)), rl)
    return Split(sft=np.flatnonzero(~chosen).tolist(), rl=np.flatnonzero(chosen).tolist())

"""The rule that turns a claim or a value of a paper and the runs here into one of four words.

A claim says that arm a is above arm b on a panel. In this order:

1. `not run`: one of the arms has no episodes on that panel here.
2. `not reproduced`: a is not above b here.
3. `direction only`: a is above b here, and the difference is not established: its 95 % interval over games and training
   seeds holds zero, or a is not above b under every seed, or its p is above 5 % after Holm's correction over the claims
   that are judged together. At the paper's own scale also: the difference is established and of another size, that is,
   the paper's difference and the one here are further apart than their two intervals allow.
4. `reproduced`: anything else.

Both sides are uncertain. Here: a nested bootstrap over games and seeds. The paper: its panels look like single runs of
`episodes` games, so a rate has the binomial spread of that many games and a difference Newcombe's interval; a score
between 0 and 1 varies at most as much as a rate of the same mean, which is the bound taken. The explanation says when
that interval holds zero, that is, when the paper's own panel does not establish the claim, and when the opposite is
established here. `not reproduced` without that is no evidence of equality.

A value has no direction. At the paper's scale it is `reproduced` if zero is inside the interval of the difference that
the two intervals give (square-and-add), else `not reproduced`. At another scale it is `other scale`, and never
subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from encore.report.comparison import Claim, PairedTest, ReportedValue, Row
from encore.statistics import wilson

NOT_RUN = "not run"
REPRODUCED = "reproduced"
DIRECTION = "direction only"
NOT_REPRODUCED = "not reproduced"
OTHER_SCALE = "other scale"
VERDICTS = (REPRODUCED, DIRECTION, NOT_REPRODUCED, NOT_RUN)
ALPHA = 0.05

RULE = (
    "Reproduced: arm a is above arm b here, the 95 % interval of the difference over games and training seeds is above "
    "zero, a is above b under every seed, and p stays at most 5 % after Holm's correction over the claims judged "
    "together (those that the paper prints or shows are one family, those that only follow from its argument another).",
    "Direction only: a is above b here, and one of these conditions fails. At the paper's own scale also where the "
    "difference is established but further from the paper's than the two intervals allow.",
    "Not reproduced: a is not above b here. This is no evidence of equality, nor is it evidence of the opposite "
    "unless the explanation says that the opposite is established.",
    "The paper's side: its panels are read as single runs, so its rates carry the binomial spread of that many "
    "episodes and its differences Newcombe's 95 % interval. A score is given the spread of a rate of the same mean, "
    "the largest that it can have. Where the paper's interval holds zero, its own panel does not establish the claim.",
    "Values are judged at the paper's scale only: reproduced if the two intervals leave room for no difference. At "
    "another scale they say 'other scale', and only claims, which are differences, are judged.",
    "Claims about time: reproduced if they hold under every seed, direction only if for the mean over seeds alone.",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """a minus b in fractions of 1; the interval is None where nothing can be said about it."""

    value: float
    low: float | None
    high: float | None


def reported_interval(value: ReportedValue) -> tuple[float, float] | None:
    """The paper's value as a single run of `episodes` games: Wilson's 95 % interval in fractions of 1.

    Exact for a rate; for a score in [0, 1] the widest there can be, since its variance is at most m (1 - m). None for
    other units, or where the paper gives no count.
    """
    if value.unit not in ("percent", "points") or not value.episodes:
        return None
    found = wilson(value.value / 100 * value.episodes, value.episodes)
    return found.low, found.high


def reported_difference(a: ReportedValue, b: ReportedValue) -> Difference:
    """The paper's difference in fractions of 1 with Newcombe's 95 % interval (1998, Stat. Med. 17:873, method 10).

    With values p, q and their limits (l, u) and (l', u'): low = p - q - sqrt((p - l)^2 + (u' - q)^2), high = p - q +
    sqrt((u - p)^2 + (q - l')^2). Raises ValueError for values of two units.
    """
    if a.unit != b.unit:
        raise ValueError(f"values in {a.unit} and in {b.unit} have no difference")
    p, q = a.value / 100, b.value / 100
    of_a, of_b = reported_interval(a), reported_interval(b)
    if of_a is None or of_b is None:
        return Difference(p - q, None, None)
    low, high = _apart(p, *of_a, q, *of_b)
    return Difference(p - q, low, high)


def decide(
    test: PairedTest | None,
    theirs: Difference | None = None,
    adjusted_p: float | None = None,
    *,
    same_scale: bool = False,
) -> str:
    """The verdict of the rule above on `a > b`, from what was found here.

    `adjusted_p` None: the claim stands alone, and its own p counts.
    """
    if test is None:
        return NOT_RUN
    if test.difference <= 0:
        return NOT_REPRODUCED
    if lacks(test, adjusted_p):
        return DIRECTION
    if same_scale and theirs is not None and other_size(test, theirs):
        return DIRECTION
    return REPRODUCED


def lacks(test: PairedTest, adjusted_p: float | None = None) -> str:
    """What keeps a difference above zero from being established; empty if nothing does."""
    p = test.bootstrap_p if adjusted_p is None else adjusted_p
    if not test.low > 0:
        return "the interval holds zero"
    if not all(value > 0 for value in test.per_seed):
        return "not under every seed"
    if p > ALPHA:
        return "above zero by itself, not after Holm's correction"
    return ""


def other_size(test: PairedTest, theirs: Difference) -> bool:
    """Whether the paper's difference and the one here are further apart than both intervals allow."""
    if theirs.low is None or theirs.high is None:
        return False
    low, high = _apart(test.difference, test.low, test.high, theirs.value, theirs.low, theirs.high)
    return low > 0 or high < 0


def opposite(test: PairedTest) -> bool:
    """Whether b above a is established here, by the same conditions without the correction."""
    return test.high < 0 and all(value < 0 for value in test.per_seed)


def row_verdict(row: Row, *, same_scale: bool) -> str:
    """How a row stands to its reported value; empty where the paper reports none."""
    reported = row.reported
    if row.mean is None:
        return NOT_RUN
    if reported is None:
        return ""
    if not same_scale:
        return OTHER_SCALE
    theirs = reported_interval(reported)
    if theirs is None or row.low is None or row.high is None:
        return "no interval to compare with"
    low, high = _apart(row.mean, row.low, row.high, reported.value / 100, *theirs)
    return REPRODUCED if low <= 0 <= high else NOT_REPRODUCED


def summary(claims: Sequence[Claim]) -> str:
    """One or two sentences that count the verdicts."""
    judged = [claim for claim in claims if claim.verdict != NOT_RUN]
    if not judged:
        return "No claim of the paper could be judged: no two arms that it compares were run."
    parts = ", ".join(f"{sum(c.verdict == word for c in judged)} {word}" for word in VERDICTS if word != NOT_RUN)
    implied = [claim for claim in judged if claim.basis == "implied"]
    missing = len(claims) - len(judged)
    text = f"Of {len(judged)} judged claim{'s' if len(judged) > 1 else ''}, {parts}."
    if implied:
        good = sum(claim.verdict == REPRODUCED for claim in implied)
        verb = "follows" if len(implied) == 1 else "follow"
        text += (
            f" {len(implied)} of the {len(judged)} {verb} from the paper's argument, which prints no such comparison "
            f"({good} of them reproduced)."
        )
    return text + (f" {missing} more {'was' if missing == 1 else 'were'} not run." if missing else "")


def _apart(p: float, p_low: float, p_high: float, q: float, q_low: float, q_high: float) -> tuple[float, float]:
    """Limits of p - q by square-and-add (Zou and Donner 2008); with Wilson's limits this is Newcombe's method 10."""
    return p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)

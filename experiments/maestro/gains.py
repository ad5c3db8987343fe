"""How much an arm is above another, paired by item, on one benchmark and as a macro mean; and what that decides.

The intervals of one benchmark are over items and seeds (`nested_bootstrap`), and a verdict asks for every seed. The
macro mean weighs benchmarks equally, whatever their size; its bootstrap draws items within each, seeds averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encore.report.reported import ReportedNumbers
from encore.report.reported_numbers import PaperClaim
from encore.report.verdict import ALPHA, DIRECTION, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from encore.statistics import holm, nested_bootstrap
from experiments.maestro.collect import Collected, Result

REPLICATES = 10_000


@dataclass(frozen=True)
class Gain:
    """a minus b, in fractions of 1; `per_seed` of the seeds that both have."""

    difference: float
    low: float
    high: float
    p: float
    per_seed: list[float]
    items: int


@dataclass(frozen=True)
class Judged:
    """A claim of the paper, the gain found here and the verdict."""

    claim: PaperClaim
    gain: Gain | None
    reported: float | None
    verdict: str
    why: str


@dataclass(frozen=True)
class Macro:
    """An arm's mean over benchmarks with its interval, and its gain over another arm."""

    method: str
    mean: float
    low: float
    high: float
    benchmarks: int


def gain(a: Result, b: Result) -> Gain:
    """a against b on the same items. Raises ValueError for other numbers of items."""
    assert a.scores is not None and b.scores is not None
    found = nested_bootstrap(a.scores, b.scores, pair_seeds=a.seeds == b.seeds, replicates=REPLICATES)
    means_a, means_b = a.scores.mean(axis=1), b.scores.mean(axis=1)
    return Gain(found.difference, found.low, found.high, found.p_two_sided, _per_seed(a, b, means_a, means_b), found.n)


def _per_seed(a: Result, b: Result, means_a: np.ndarray, means_b: np.ndarray) -> list[float]:
    """Differences by seed; an arm that has one seed alone stands against each of the other's."""
    if len(a.seeds) == 1 or len(b.seeds) == 1:
        return [float(x - y) for x in means_a for y in means_b]
    both = [seed for seed in a.seeds if seed in b.seeds]
    return [float(means_a[a.seeds.index(seed)] - means_b[b.seeds.index(seed)]) for seed in both]


def macro(results: Sequence[Result], seed: int = 0) -> Macro:
    """The mean of benchmark means, with a bootstrap over items within each benchmark."""
    boots = _boots([one.per_item for one in results], seed)
    low, high = np.percentile(boots, [2.5, 97.5])
    mean = float(np.mean([one.per_item.mean() for one in results]))
    return Macro(results[0].arm.name, mean, float(low), float(high), len(results))


def macro_gain(a: Sequence[Result], b: Sequence[Result], seed: int = 0) -> Gain:
    """The macro mean of a minus that of b, paired by item; `per_seed` holds macro differences of common seeds."""
    boots = _boots([x.per_item - y.per_item for x, y in zip(a, b, strict=True)], seed)
    low, high = np.percentile(boots, [2.5, 97.5])
    below, above = (int((boots <= 1e-12).sum()) + 1, int((boots >= -1e-12).sum()) + 1)
    p = min(1.0, 2 * min(below, above) / (REPLICATES + 1))
    single = [gain_by_seed(x, y) for x, y in zip(a, b, strict=True)]
    per_seed = [float(np.mean(values)) for values in zip(*single, strict=True)]
    difference = float(np.mean([x.per_item.mean() - y.per_item.mean() for x, y in zip(a, b, strict=True)]))
    return Gain(difference, float(low), float(high), p, per_seed, sum(len(x.per_item) for x in a))


def gain_by_seed(a: Result, b: Result) -> list[float]:
    assert a.scores is not None and b.scores is not None
    return _per_seed(a, b, a.scores.mean(axis=1), b.scores.mean(axis=1))


def _boots(values: Sequence[np.ndarray], seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    means = [one[generator.integers(0, len(one), size=(REPLICATES, len(one)))].mean(axis=1) for one in values]
    return np.mean(means, axis=0)


def judge(found: Collected, numbers: ReportedNumbers, backbone: str | None) -> list[Judged]:
    """Every claim about a benchmark of this run. Together they are one family: Holm's correction.

    reproduced: the interval over items and seeds is above zero, so is the difference under every seed, and the
    corrected p is at most 0.05. direction only: above zero, and not all of that. not reproduced: at or below zero.
    """
    claims = [claim for claim in numbers.claims_of("full") if claim.environment in found.benchmarks]
    gains: list[Gain | None] = []
    for claim in claims:
        a, b = found.ran(claim.environment, claim.a), found.ran(claim.environment, claim.b)
        gains.append(gain(a, b) if a is not None and b is not None else None)
    adjusted = iter(holm([one.p for one in gains if one is not None]) if any(gains) else [])
    judged = []
    for claim, one in zip(claims, gains, strict=True):
        verdict, why = _decide(one, next(adjusted) if one is not None else None)
        reported = _reported(numbers, claim, backbone)
        judged.append(Judged(claim, one, reported, verdict, why))
    return judged


def _decide(one: Gain | None, p: float | None) -> tuple[str, str]:
    if one is None or p is None:
        return NOT_RUN, "one of the two arms was not run"
    if one.difference <= 0:
        clear = one.high < 0 and all(value < 0 for value in one.per_seed)
        return NOT_REPRODUCED, "the opposite is clear" if clear else "no gain"
    if not one.low > 0:
        return DIRECTION, "the interval holds zero"
    if not all(value > 0 for value in one.per_seed):
        return DIRECTION, "not under every seed"
    if p > ALPHA:
        return DIRECTION, f"above zero by itself, not after Holm's correction (p {p:.3f})"
    return REPRODUCED, f"Holm's p {p:.3f}"


def _reported(numbers: ReportedNumbers, claim: PaperClaim, backbone: str | None) -> float | None:
    a, b = (
        numbers.lookup(claim.environment, arm, claim.panel, claim.metric, backbone=backbone)
        for arm in (claim.a, claim.b)
    )
    return None if a is None or b is None else (a.value - b.value) / 100


def summary(judged: Sequence[Judged]) -> str:
    """One sentence that counts the verdicts."""
    ran = [one for one in judged if one.verdict != NOT_RUN]
    if not ran:
        return "No claim of the paper could be judged: no two arms that it compares were run."
    counts = ", ".join(
        f"{sum(one.verdict == word for one in ran)} {word}" for word in (REPRODUCED, DIRECTION, NOT_REPRODUCED)
    )
    text = f"Of {len(ran)} judged claims, {counts}."
    implied = sum(one.claim.basis == "implied" for one in ran)
    if implied:
        text += f" {implied} of them are about stand-ins, of which the paper has no number."
    missing = len(judged) - len(ran)
    return text + (f" {missing} more were not run." if missing else "")

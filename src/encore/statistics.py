"""Intervals, paired tests and the bootstrap: the few estimators that every comparison of Encore uses.

What an interval covers depends on what was drawn at random, so each function says which it is: `mean_interval` is
over the values given (seeds), `wilson` over independent trials, `success_interval` and `paired_bootstrap` over
games, `nested_bootstrap` over games and training seeds. scipy and numpy do the arithmetic. Random draws come from
`numpy.random.default_rng(seed)`, so a result can be recomputed exactly.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
# A resampled difference of exactly zero must count on both sides although its sum was rounded.
ROUNDING_SLACK = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval and the point it is built around (for Wilson that is not the observed rate)."""

    low: float
    high: float
    centre: float


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """Mean with its Student interval; `sd`, `sem`, `t_critical`, `low` and `high` are NaN for a single value."""

    mean: float
    sd: float
    sem: float
    t_critical: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean of a minus mean of b with its bootstrap interval; `boot_sd` is the standard deviation of the replicates."""

    difference: float
    low: float
    high: float
    p_two_sided: float
    boot_sd: float
    n: int


@dataclass(frozen=True, slots=True)
class McNemar:
    """Discordant pairs and the exact two-sided p-value."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True, slots=True)
class ClusteredMcNemar:
    """Pairs of runs and games that only one arm won, games on which the arms differ, the exact two-sided p-value."""

    only_a: int
    only_b: int
    games: int
    p: float


@dataclass(frozen=True, slots=True)
class InterquartileMean:
    """Interquartile mean of all scores with its stratified bootstrap interval."""

    iqm: float
    low: float
    high: float
    boot_sd: float
    replicates: Values


@dataclass(frozen=True, slots=True)
class SuccessInterval:
    """A success rate over seeds x games; `effective_n` is the number of independent trials that it is worth."""

    mean: float
    low: float
    high: float
    effective_n: float
    kind: str


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Spearman's rho and its two-sided p-value; both NaN where a side is constant or has fewer than three values."""

    rho: float
    p: float
    n: int


def mean_interval(values: ArrayLike, level: float = 0.95) -> MeanInterval:
    """Student t interval of a mean: mean +- t(1 - (1 - level)/2, n - 1) * sd / sqrt(n), with sd over n - 1.

    One value has a mean and no width: every other field is NaN, because no width can be known from it.
    Raises ValueError for no values. Source: Student (1908); `scipy.stats.t`.
    """
    x = _vector(values, "values")
    mean, n = float(x.mean()), len(x)
    if n == 1:
        return MeanInterval(mean, math.nan, math.nan, math.nan, math.nan, math.nan, 1)
    sd = float(x.std(ddof=1))
    sem = sd / math.sqrt(n)
    t_critical = float(scipy.stats.t.ppf(0.5 + _level(level) / 2, n - 1))
    return MeanInterval(mean, sd, sem, t_critical, mean - t_critical * sem, mean + t_critical * sem, n)


def wilson(k: float, n: float, level: float = 0.95) -> Interval:
    """Wilson score interval of k successes in n independent trials, without continuity correction, within [0, 1].

    centre = (p + z^2 / 2n) / (1 + z^2 / n), half width = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4n^2), p =
    k / n. Raises ValueError unless 0 <= k <= n and n > 0. Source: Wilson (1927), JASA 22(158).
    """
    if not (n > 0 and 0 <= k <= n):
        raise ValueError(f"wilson needs 0 <= k <= n and n > 0, got k={k}, n={n}")
    return _score_interval(k / n, n, float(scipy.stats.norm.ppf(0.5 + _level(level) / 2)))


def success_interval(
    outcomes: ArrayLike,
    level: float = 0.95,
    over: Literal["games", "games_and_seeds"] = "games",
    method: Literal["wilson", "bootstrap"] = "wilson",
    quantile: Literal["student", "normal"] = "student",
    replicates: int = 10_000,
    seed: int = 0,
) -> SuccessInterval:
    """Interval of a success rate when every seed plays the same games: `outcomes[seeds][games]`, each in [0, 1].

    Wilson on the pooled count would take seeds x games for independent trials; two seeds that win the same games
    would then halve the variance for nothing. The independent units are the games, so the variance of the rate p is
    that of the game means m_g, V = sum_g (m_g - p)^2 / G^2, and Wilson's formula is used with the effective number
    of trials p (1 - p) / V, at most seeds x games; where all games agree (p = 0 or 1) it is G. One seed, or
    identical seeds, gives `wilson(k, G)`. (Kish 1965, design effect; Franco et al. 2019, J. Surv. Stat. Methodol.
    7(3), for Wilson with an effective n.)

    over="games": other games, these trained policies. With two seeds this is what can be known well.
    over="games_and_seeds": training again too. The variance of the seed means is added, V + V_seeds - V_residual
        (two-way clustering, Cameron, Gelbach and Miller 2011), and z becomes Student's t with Satterthwaite's degrees
        of freedom: two seeds that disagree give a wide interval, as they should. Needs two seeds (ValueError).
    quantile="normal": z all the same, as in a bootstrap over games and seeds (`nested_bootstrap`). With two or three
        seeds Student's t is honest and swings from a fifth to nearly all of the axis by the luck of two numbers; z is
        steady and too narrow for training again. Say which it is.
    method="bootstrap": percentiles of the rate over resampled games instead (over="games" only). Zero width at 0 and 1.
    """
    x = np.asarray(outcomes, dtype=float)
    if x.ndim != 2 or x.size == 0 or not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"success_interval needs outcomes[seeds][games] in [0, 1], got an array of shape {x.shape}")
    seeds, games = x.shape
    rate, game_means = float(x.mean()), x.mean(axis=0)
    percent = f"{100 * _level(level):g} %"
    if method == "bootstrap":
        if over != "games":
            raise ValueError('success_interval: method="bootstrap" resamples games only; use over="games"')
        indices = np.random.default_rng(seed).integers(0, games, size=(replicates, games))
        low, high = _percentiles(game_means[indices].mean(axis=1), level)
        return SuccessInterval(rate, low, high, games, f"{percent} bootstrap over games")
    variance = float(game_means.var()) / games
    z = float(scipy.stats.norm.ppf(0.5 + level / 2))
    kind = f"{percent} Wilson, clustered by game"
    if over == "games_and_seeds":
        if seeds < 2:
            raise ValueError('success_interval: over="games_and_seeds" needs at least two seeds')
        seed_means = x.mean(axis=1)
        of_seeds = float(seed_means.var(ddof=1)) / seeds
        residual = x - seed_means[:, None] - game_means[None, :] + rate
        of_cells = float((residual**2).sum()) / max((seeds - 1) * (games - 1), 1) / (seeds * games)
        of_games, variance = variance, max(variance, variance + of_seeds - of_cells)
        if variance > 0 and quantile == "student":
            parts = of_games**2 / max(games - 1, 1) + of_seeds**2 / (seeds - 1)
            freedom = min(max(variance**2 / parts, 1.0), max(games - 1, 1))
            z = float(scipy.stats.t.ppf(0.5 + level / 2, freedom))
        kind = f"{percent} Wilson, clustered by game and seed"
    bernoulli = rate * (1 - rate)
    if bernoulli == 0:
        effective = float(games)
    else:
        most = seeds * games if np.isin(x, (0, 1)).all() else math.inf
        effective = min(bernoulli / variance, most) if variance > 0 else float(seeds * games)
    interval = _score_interval(rate, effective, z)
    return SuccessInterval(rate, interval.low, interval.high, effective, kind)


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, seed: int = 0, replicates: int = 10_000, level: float = 0.95
) -> PairedDifference:
    """Percentile bootstrap of mean(a - b) over pairs: the same games under two arms.

    p = min(1, 2 min((#{r <= 0} + 1) / (B + 1), (#{r >= 0} + 1) / (B + 1))) over the B replicates r. Average each
    game over seeds first: seeds of one game are not separate pairs. Memory: 16 bytes x replicates x n. Raises
    ValueError for vectors of unequal length. Source: Efron and Tibshirani (1993), chapters 13 and 15; the added
    ones, Davison and Hinkley (1997).
    """
    x, y = _vector(a, "a"), _vector(b, "b")
    if len(x) != len(y):
        raise ValueError(f"paired_bootstrap needs pairs, got {len(x)} and {len(y)} values")
    difference = x - y
    indices = np.random.default_rng(seed).integers(0, len(x), size=(replicates, len(x)))
    means = difference[indices].mean(axis=1)
    low, high = _percentiles(means, level)
    below = (int((means <= ROUNDING_SLACK).sum()) + 1) / (replicates + 1)
    above = (int((means >= -ROUNDING_SLACK).sum()) + 1) / (replicates + 1)
    spread = float(means.std(ddof=1)) if replicates > 1 else math.nan
    return PairedDifference(float(difference.mean()), low, high, min(1.0, 2 * min(below, above)), spread, len(x))


def nested_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    *,
    pair_seeds: bool = True,
    seed: int = 0,
    replicates: int = 10_000,
    level: float = 0.95,
) -> PairedDifference:
    """Percentile bootstrap of mean(a - b) for `a[seeds][games]` and `b[seeds][games]` on the same games.

    A replicate draws games, the same for both arms, and training seeds, each with replacement; a drawn seed keeps all
    of its drawn games, because a training run is lucky or unlucky in all of them. `pair_seeds`: row i of both arms is
    the same seed and drawn together; False, or unequal numbers of seeds: drawn apart. With one seed on both sides this
    is `paired_bootstrap`, to the last digit.

    Two or three seeds say little of training again: their resamples have (S - 1) / S of the variance of their mean. In
    return the replicates in which the worst seed is drawn every time (one in four of two seeds, one in 27 of three) are
    more than the tail that the interval cuts off, so that its end reaches to about where the worst seed alone would be.
    Raises ValueError for other games or no seeds. Source: Efron and Tibshirani (1993), chapter 8.3; Owen (2007), Ann.
    Appl. Stat. 1(2), for the bootstrap of two crossed factors.
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.ndim != 2 or y.ndim != 2 or 0 in (x.size, y.size) or x.shape[1] != y.shape[1]:
        raise ValueError(f"nested_bootstrap needs arm[seeds][games] on the same games, got {x.shape} and {y.shape}")
    generator, games = np.random.default_rng(seed), x.shape[1]
    drawn = generator.integers(0, games, size=(replicates, games))

    def resampled(runs: Values) -> Values:
        of_seed = np.stack([run[drawn].mean(axis=1) for run in runs], axis=1)  # replicates x seeds
        if len(runs) == 1:
            return np.asarray(of_seed[:, 0])
        picked = generator.integers(0, len(runs), size=of_seed.shape)
        return np.asarray(np.take_along_axis(of_seed, picked, axis=1).mean(axis=1))

    together = pair_seeds and len(x) == len(y)
    means = resampled(x - y) if together else resampled(x) - resampled(y)
    low, high = _percentiles(means, level)
    below = (int((means <= ROUNDING_SLACK).sum()) + 1) / (replicates + 1)
    above = (int((means >= -ROUNDING_SLACK).sum()) + 1) / (replicates + 1)
    spread = float(means.std(ddof=1)) if replicates > 1 else math.nan
    difference = float((x.mean(axis=0) - y.mean(axis=0)).mean())
    return PairedDifference(difference, low, high, min(1.0, 2 * min(below, above)), spread, games)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the given order: the k-th smallest of m times m - k + 1, made monotone.

    Rejecting those at most 0.05 keeps the chance of any false rejection at 5 %, whatever the tests' dependence. Raises
    ValueError for values outside 0 to 1. Source: Holm (1979), Scand. J. Stat. 6(2).
    """
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("holm needs p-values between 0 and 1")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty(len(p))
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def mcnemar(a: ArrayLike, b: ArrayLike) -> McNemar:
    """Exact two-sided McNemar test of two 0/1 vectors over the same games (one run each, no averages).

    p = min(1, 2 P(X <= min(only_a, only_b))) with X ~ Binomial(only_a + only_b, 1/2), no mid-p; 1 where no pair
    differs. Raises ValueError for unequal lengths or other values than 0 and 1. Source: McNemar (1947);
    `scipy.stats.binom`.
    """
    x, y = _vector(a, "a"), _vector(b, "b")
    if len(x) != len(y) or not (np.isin(x, (0, 1)).all() and np.isin(y, (0, 1)).all()):
        raise ValueError("mcnemar needs two 0/1 vectors of one length; average no seeds, test each")
    only_a, only_b = int(((x == 1) & (y == 0)).sum()), int(((x == 0) & (y == 1)).sum())
    if only_a + only_b == 0:
        return McNemar(0, 0, 1.0)
    tail = float(scipy.stats.binom.cdf(min(only_a, only_b), only_a + only_b, 0.5))
    return McNemar(only_a, only_b, min(1.0, 2 * tail))


def mcnemar_clustered(a: ArrayLike, b: ArrayLike) -> ClusteredMcNemar:
    """Exact two-sided McNemar test of two arms with several runs, `a[runs][games]` and `b[runs][games]`, each 0 or 1.

    The unit is the game. Under the hypothesis that the arms do not differ, the outcomes of a game under all runs of one
    arm and those under all runs of the other may be exchanged, so each game's difference in wins has either sign with
    chance 1/2; p is the chance of a sum at least as far from zero, over all sign patterns. Runs of one game are never
    taken for independent pairs. One run each gives `mcnemar`. It speaks of these trained policies on other games, not
    of training again. Raises ValueError for other values or other games. Source: Fisher's randomisation test of paired
    differences, on sums within clusters.
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if x.ndim != 2 or y.ndim != 2 or 0 in (x.size, y.size) or x.shape[1] != y.shape[1]:
        raise ValueError(f"mcnemar_clustered needs arm[runs][games] on the same games, got {x.shape} and {y.shape}")
    if not (np.isin(x, (0, 1)).all() and np.isin(y, (0, 1)).all()):
        raise ValueError("mcnemar_clustered needs 0/1 outcomes")
    # Means over runs have the common denominator runs(a) x runs(b): whole numbers, and so exact chances.
    scale = math.gcd(len(x), len(y))
    of_games = (x.sum(0) * (len(y) // scale) - y.sum(0) * (len(x) // scale)).astype(int)
    reach = int(np.abs(of_games).sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for size in np.abs(of_games[of_games != 0]):
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2  # the ends that wrap round hold zeros
    observed = abs(int(of_games.sum()))
    p = float(chances[np.abs(np.arange(-reach, reach + 1)) >= observed].sum())
    only_a = int(((x[:, None] == 1) & (y[None] == 0)).sum()) if len(x) != len(y) else int(((x == 1) & (y == 0)).sum())
    only_b = int(((x[:, None] == 0) & (y[None] == 1)).sum()) if len(x) != len(y) else int(((x == 0) & (y == 1)).sum())
    return ClusteredMcNemar(only_a, only_b, int((of_games != 0).sum()), min(1.0, p))


def iqm(
    scores: Sequence[Sequence[float]] | ArrayLike, seed: int = 0, replicates: int = 10_000, level: float = 0.95
) -> InterquartileMean:
    """Interquartile mean of `scores[runs][tasks]` with a stratified bootstrap interval.

    The mean of all values after cutting int(0.25 * count) at each end; a replicate resamples runs separately within
    each task. Raises ValueError for another shape. Source: Agarwal et al. (2021), arXiv 2108.13264, and its package
    rliable.
    """
    x = np.asarray(scores, dtype=float)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"iqm needs scores[runs][tasks], got an array of shape {x.shape}")
    runs, tasks = x.shape
    indices = np.random.default_rng(seed).integers(0, runs, size=(replicates, runs, tasks))
    drawn = x[indices, np.arange(tasks)].reshape(replicates, runs * tasks)
    means = np.asarray(scipy.stats.trim_mean(drawn, 0.25, axis=1), dtype=float)
    low, high = _percentiles(means, level)
    spread = float(means.std(ddof=1)) if replicates > 1 else math.nan
    return InterquartileMean(float(scipy.stats.trim_mean(x, 0.25, axis=None)), low, high, spread, means)


def spearman(x: ArrayLike, y: ArrayLike) -> RankCorrelation:
    """Spearman's rank correlation, ties by average ranks (`scipy.stats.spearmanr`). ValueError for unequal lengths."""
    u, v = _vector(x, "x"), _vector(y, "y")
    if len(u) != len(v):
        raise ValueError(f"spearman needs pairs, got {len(u)} and {len(v)} values")
    if len(u) < 3:
        return RankCorrelation(math.nan, math.nan, len(u))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.ConstantInputWarning)  # said by the NaN that is returned
        result = scipy.stats.spearmanr(u, v)
    return RankCorrelation(float(result.statistic), float(result.pvalue), len(u))


def _score_interval(rate: float, n: float, z: float) -> Interval:
    spread = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / spread
    half = z / spread * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # The ends are exactly 0 and 1 there; rounding would leave 1e-17.
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return Interval(low, high, centre)


def _percentiles(replicates: Values, level: float) -> tuple[float, float]:
    tail = 50 * (1 - _level(level))
    low, high = np.percentile(replicates, [tail, 100 - tail])
    return float(low), float(high)


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1, got {level}")
    return level


def _vector(values: ArrayLike, name: str) -> Values:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all():
        raise ValueError(f"{name} must be a non-empty list of finite numbers, got an array of shape {x.shape}")
    return x

"""Tests and intervals over games and training seeds, and the correction for their number."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.association import group_effect, rank_agreement
from encore.statistics import (
    holm,
    mcnemar,
    mcnemar_clustered,
    nested_bootstrap,
    paired_bootstrap,
    success_interval,
    wilson,
)

wins = st.integers(0, 1)


def runs(seeds: int, games: int, chance: float, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((seeds, games)) < chance).astype(float)


def test_one_seed_is_the_paired_bootstrap() -> None:
    a, b = runs(1, 60, 0.6, 1), runs(1, 60, 0.4, 2)
    assert nested_bootstrap(a, b, replicates=500) == paired_bootstrap(a[0], b[0], replicates=500)


def test_identical_seeds_add_nothing() -> None:
    """Three copies of a run are one run, whatever is drawn."""
    a, b = runs(1, 60, 0.6, 1), runs(1, 60, 0.4, 2)
    one = nested_bootstrap(a, b, replicates=500)
    three = nested_bootstrap(np.repeat(a, 3, 0), np.repeat(b, 3, 0), replicates=500)
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_seeds_that_disagree_widen_the_interval_to_the_worst_of_them() -> None:
    games = 200
    a = np.zeros((2, games))
    a[0, : games * 3 // 4] = 1  # 75 % under one seed, 25 % under the other
    a[1, : games // 4] = 1
    b = np.zeros((2, games))
    b[:, : games // 2] = 1
    nested, over_games = nested_bootstrap(a, b), paired_bootstrap(a.mean(0), b.mean(0))
    assert nested.difference == over_games.difference == 0
    assert nested.low < -0.25 and nested.high > 0.25
    assert nested.high - nested.low > 3 * (over_games.high - over_games.low)


def test_unequal_seeds_are_drawn_apart_and_two_arms_mirror() -> None:
    a, b = runs(3, 50, 0.7, 3), runs(1, 50, 0.2, 4)
    forward, backward = nested_bootstrap(a, b), nested_bootstrap(b, a)
    assert forward.low > 0 and forward.p_two_sided < 0.01
    assert forward.difference == pytest.approx(-backward.difference)
    with pytest.raises(ValueError, match="same games"):
        nested_bootstrap(a, b[:, :-1])


@settings(deadline=None)
@given(st.lists(st.tuples(wins, wins), min_size=1, max_size=40))
def test_one_run_each_is_mcnemar(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array([x for x, _ in pairs]), np.array([y for _, y in pairs])
    one, many = mcnemar(a, b), mcnemar_clustered([a], [b])
    assert (many.only_a, many.only_b) == (one.only_a, one.only_b)
    assert many.p == pytest.approx(one.p, abs=1e-12)
    copies = mcnemar_clustered([a, a, a], [b, b, b])
    assert copies.p == pytest.approx(one.p, abs=1e-12)  # copies of a run are no evidence


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 8), st.integers(0, 10_000))
def test_clustered_p_is_the_share_of_sign_patterns(n_a: int, n_b: int, games: int, seed: int) -> None:
    a, b = runs(n_a, games, 0.6, seed), runs(n_b, games, 0.4, seed + 1)
    means = a.mean(0) - b.mean(0)
    observed = abs(means.sum())
    patterns = itertools.product((1, -1), repeat=games)
    share = np.mean([abs((means * signs).sum()) >= observed - 1e-9 for signs in patterns])
    assert mcnemar_clustered(a, b).p == pytest.approx(share)


def test_clustered_mcnemar_refuses_averages() -> None:
    with pytest.raises(ValueError, match="0/1"):
        mcnemar_clustered([[0.5]], [[1.0]])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_raises_no_p_above_bonferroni_and_keeps_their_order(p: list[float]) -> None:
    adjusted = holm(p)
    for raw, value in zip(p, adjusted, strict=True):
        assert raw <= value <= min(1.0, raw * len(p)) + 1e-12
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.5])


def test_a_score_that_hardly_varies_has_a_narrow_interval() -> None:
    """Scores of 0.49 to 0.51 are not coin flips; wins of the same mean are."""
    generator = np.random.default_rng(0)
    scores = success_interval([generator.uniform(0.49, 0.51, 100)])
    assert scores.high - scores.low < 0.01
    flips = success_interval([[0, 1] * 50])
    assert (flips.low, flips.high) == pytest.approx((wilson(50, 100).low, wilson(50, 100).high))


def test_a_group_explains_all_or_nothing() -> None:
    names = ["a"] * 10 + ["b"] * 10
    assert group_effect([0.0] * 10 + [1.0] * 10, names).eta_squared == pytest.approx(1)
    assert group_effect([0.0, 1.0] * 10, names).eta_squared == pytest.approx(0)
    assert np.isnan(group_effect([1.0] * 20, names).eta_squared)
    assert np.isnan(group_effect(range(20), ["a"] * 20).p)
    with pytest.raises(ValueError, match="group each"):
        group_effect([1.0, 2.0], ["a"])


def test_rankings_agree_with_themselves_and_are_opposite_to_their_reverse() -> None:
    score = np.arange(10.0)
    same, reverse, between = rank_agreement({"a": score, "b": 2 * score + 1, "c": -score})
    assert (same.rho, same.same_half) == pytest.approx((1, 1))
    assert (reverse.rho, reverse.same_half) == pytest.approx((-1, 0))
    assert (between.a, between.b, between.n) == ("b", "c", 10)

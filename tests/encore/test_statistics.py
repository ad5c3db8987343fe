"""Statistics: properties first, then the golden values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.statistics import iqm, mcnemar, mean_interval, paired_bootstrap, spearman, success_interval, wilson

Shared = Callable[[str], Path]
numbers = st.floats(-100, 100, allow_nan=False)


def golden(shared: Shared, name: str) -> list[dict]:
    return json.loads(shared("fixtures/math/stats/golden.json").read_text(encoding="utf-8"))[name]


# --- properties -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_inside_the_unit_interval_and_mirrors(counts: tuple[int, int]) -> None:
    k, n = counts
    interval, mirrored = wilson(k, n), wilson(n - k, n)
    assert 0 <= interval.low <= k / n <= interval.high <= 1
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-12)  # failures are successes of the other arm
    assert interval.high - interval.low < wilson(k, n, level=0.99).high - wilson(k, n, level=0.99).low + 1e-12


@given(st.lists(numbers, min_size=2, max_size=10), st.floats(-10, 10))
def test_mean_interval_moves_with_its_values(values: list[float], shift: float) -> None:
    plain, moved = mean_interval(values), mean_interval([value + shift for value in values])
    assert moved.low - plain.low == pytest.approx(shift, abs=1e-6)
    assert plain.low <= plain.mean <= plain.high


def test_one_value_has_a_mean_and_no_width() -> None:
    result = mean_interval([0.7])
    assert result.mean == 0.7
    assert all(math.isnan(x) for x in (result.sd, result.sem, result.t_critical, result.low, result.high))


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(1, 4))
def test_seeds_that_agree_add_no_games(wins: list[bool], seeds: int) -> None:
    """The reason for clustering: copies of one run are one run."""
    result = success_interval([wins] * seeds)
    single = wilson(sum(wins), len(wins))
    assert (result.low, result.high) == pytest.approx((single.low, single.high), abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 40))
def test_success_interval_lies_between_pooled_and_single_run(seed: int, seeds: int, games: int) -> None:
    outcomes = np.random.default_rng(seed).integers(0, 2, size=(seeds, games))
    result, pooled = success_interval(outcomes), wilson(int(outcomes.sum()), outcomes.size)
    assert result.low <= pooled.low + 1e-12 and result.high >= pooled.high - 1e-12  # never narrower than pooled
    assert 0 <= result.low <= result.mean <= result.high <= 1


def test_success_interval_covers_as_it_says() -> None:
    """Games of mixed difficulty, two seeds each: pooled Wilson covers the rate too seldom, the clustered one does."""
    generator = np.random.default_rng(0)
    clustered = pooled = 0
    for _ in range(600):
        chance = generator.beta(0.4, 0.4, size=40)  # most games are nearly always or nearly never won
        outcomes = generator.random((2, 40)) < chance
        ours, plain = success_interval(outcomes), wilson(int(outcomes.sum()), 80)
        clustered += ours.low <= 0.5 <= ours.high
        pooled += plain.low <= 0.5 <= plain.high
    assert 0.93 <= clustered / 600 <= 0.98
    assert pooled / 600 < 0.90


def test_seeds_that_disagree_widen_the_interval_over_seeds() -> None:
    outcomes = [[1] * 18 + [0] * 2, [1] * 6 + [0] * 14]
    over_games, over_both = success_interval(outcomes), success_interval(outcomes, over="games_and_seeds")
    assert over_both.high - over_both.low > 2 * (over_games.high - over_games.low)
    with pytest.raises(ValueError, match="two seeds"):
        success_interval(outcomes[:1], over="games_and_seeds")


def test_success_interval_by_bootstrap_is_near_the_formula() -> None:
    outcomes = np.random.default_rng(3).integers(0, 2, size=(2, 150))
    formula, resampled = success_interval(outcomes), success_interval(outcomes, method="bootstrap")
    assert (resampled.low, resampled.high) == pytest.approx((formula.low, formula.high), abs=0.015)
    assert success_interval([[0, 0, 0]]).high > 0.5  # three failures prove little; the bootstrap would say zero


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_paired_tests_change_sign_with_the_arms(pairs: list[tuple[bool, bool]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    forward, backward = paired_bootstrap(a, b, seed=1, replicates=200), paired_bootstrap(b, a, seed=1, replicates=200)
    assert forward.difference == pytest.approx(-backward.difference)
    assert (forward.low, forward.p_two_sided) == pytest.approx((-backward.high, backward.p_two_sided))
    assert mcnemar(a, b).p == mcnemar(b, a).p
    assert (mcnemar(a, b).only_a - mcnemar(a, b).only_b) / len(pairs) == pytest.approx(forward.difference)


def test_equal_arms_are_not_distinguished() -> None:
    same = [1, 0, 1, 1]
    assert paired_bootstrap(same, same).p_two_sided == 1.0
    assert mcnemar(same, same).p == 1.0


def test_iqm_ignores_the_tails() -> None:
    assert iqm([[0, 1, 2, 1000]], replicates=10).iqm == 1.5


def test_spearman_sees_order_only_and_admits_when_there_is_none() -> None:
    assert spearman([1, 2, 3, 4], [1, 8, 27, 64]).rho == pytest.approx(1)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]).rho)
    assert math.isnan(spearman([1, 2], [1, 2]).p)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(3, 2), "0 <= k <= n"),
        (lambda: wilson(1, 2, level=95), "level"),
        (lambda: mean_interval([]), "non-empty"),
        (lambda: mean_interval([math.nan, 1]), "finite"),
        (lambda: paired_bootstrap([1], [1, 2]), "pairs"),
        (lambda: mcnemar([0.5], [1]), "0/1"),
        (lambda: iqm([1, 2]), "runs"),
        (lambda: success_interval([1, 0]), "seeds"),
        (lambda: success_interval([[2.0]]), "seeds"),
        (lambda: spearman([1], [1, 2]), "pairs"),
    ],
)
def test_wrong_input_is_named_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# --- golden values --------------------------------------------------------------------------------------------------


def test_mean_interval_golden(shared: Shared) -> None:
    for case in golden(shared, "t_interval"):
        result = mean_interval(case["values"], case["level"])
        assert result.t_critical == pytest.approx(case["t_critical"], abs=1e-8)
        for name in ("mean", "sd", "sem", "low", "high"):
            assert getattr(result, name) == pytest.approx(case[name], abs=1e-9)


def test_wilson_golden(shared: Shared) -> None:
    for case in golden(shared, "wilson"):
        result = wilson(case["k"], case["n"])
        assert (result.low, result.high, result.centre) == pytest.approx(
            (case["low"], case["high"], case["centre"]), abs=1e-9
        )


def test_paired_bootstrap_golden(shared: Shared) -> None:
    for case in golden(shared, "paired_bootstrap"):
        result = paired_bootstrap(case["a"], case["b"], case["seed"], case["replicates"])
        assert result.difference == pytest.approx(case["diff"], abs=1e-9)
        for name in ("low", "high", "boot_sd"):
            assert getattr(result, name) == pytest.approx(case[name], abs=1e-9)
        assert result.p_two_sided == pytest.approx(case["p_two_sided"], abs=1e-12)


def test_mcnemar_golden(shared: Shared) -> None:
    for case in golden(shared, "mcnemar"):
        result = mcnemar(case["a"], case["b"])
        assert (result.only_a, result.only_b) == (case["only_a"], case["only_b"])
        assert result.p == pytest.approx(case["p"], abs=1e-12)


def test_iqm_golden(shared: Shared) -> None:
    for case in golden(shared, "iqm"):
        result = iqm(case["scores"], case["seed"], case["replicates"])
        for name in ("iqm", "low", "high", "boot_sd"):
            assert getattr(result, name) == pytest.approx(case[name], abs=1e-9)
        assert result.replicates[:5] == pytest.approx(case["first_replicates"], abs=1e-9)

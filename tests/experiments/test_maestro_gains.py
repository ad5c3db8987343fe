"""Gains paired by item, macro means that weigh benchmarks equally, and the rule of the verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from encore.report.verdict import DIRECTION, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from experiments.maestro import gains
from experiments.maestro.arms import arm
from experiments.maestro.collect import Result


def result(scores, method="ours", benchmark="choice"):
    scores = np.atleast_2d(np.asarray(scores, dtype=float))
    return Result(benchmark, arm(method), list(range(len(scores))), scores)


@pytest.fixture
def chance():
    return np.random.default_rng(0)


def test_a_gain_is_paired_by_item(chance):
    """Items differ much, arms by a little on each: pairing finds what unpaired intervals would hide."""
    hard = chance.uniform(0.2, 0.8, 60)
    found = gains.gain(result([hard + 0.05]), result([hard], "equal"))
    assert found.difference == pytest.approx(0.05) and found.low == pytest.approx(found.high) == pytest.approx(0.05)
    shuffled = gains.gain(result([hard + 0.05]), result([chance.permutation(hard)], "equal"))
    assert shuffled.difference == pytest.approx(0.05) and shuffled.high - shuffled.low > 0.05


def test_seeds_are_compared_with_themselves_and_one_alone_with_each(chance):
    scores = chance.uniform(0, 1, (3, 20))
    both = gains.gain(result(scores), result(scores - [[0.1], [0.0], [-0.1]], "equal"))
    assert both.per_seed == pytest.approx([0.1, 0.0, -0.1])
    alone = gains.gain(result(scores), result(scores[:1], "base"))
    assert alone.per_seed == pytest.approx(list(scores.mean(axis=1) - scores[0].mean()))


def test_the_macro_mean_weighs_benchmarks_not_items(chance):
    small, large = result([np.ones(4)]), result([np.zeros(400)], benchmark="reasoning")
    found = gains.macro([small, large])
    assert found.mean == pytest.approx(0.5) and found.benchmarks == 2
    base = [result([np.zeros(4)], "base"), result([np.zeros(400)], "base", "reasoning")]
    over = gains.macro_gain([small, large], base)
    assert over.difference == pytest.approx(0.5) and over.per_seed == pytest.approx([0.5])
    noisy = [result([chance.integers(0, 2, 50)]), result([chance.integers(0, 2, 50)], benchmark="reasoning")]
    mean = gains.macro(noisy)
    spread = np.sqrt(sum(one.per_item.var() / 50 for one in noisy)) / 2
    assert (mean.high - mean.low) / 2 == pytest.approx(1.96 * spread, rel=0.1)


@pytest.mark.parametrize(
    ("difference", "low", "high", "seeds", "p", "verdict", "why"),
    [
        (0.1, 0.05, 0.2, [0.1, 0.1], 0.01, REPRODUCED, "Holm"),
        (0.1, 0.05, 0.2, [0.3, -0.1], 0.01, DIRECTION, "not under every seed"),
        (0.1, -0.05, 0.2, [0.1, 0.1], 0.01, DIRECTION, "holds zero"),
        (0.1, 0.05, 0.2, [0.1, 0.1], 0.2, DIRECTION, "not after Holm"),
        (0.0, -0.1, 0.1, [0.0, 0.0], 1.0, NOT_REPRODUCED, "no gain"),
        (-0.1, -0.2, -0.05, [-0.1, -0.1], 0.01, NOT_REPRODUCED, "the opposite is clear"),
    ],
)
def test_verdicts(difference, low, high, seeds, p, verdict, why):
    found = gains._decide(gains.Gain(difference, low, high, p, seeds, 10), p)
    assert found[0] == verdict and why in found[1]


def test_an_arm_that_was_not_run_is_judged_as_that():
    assert gains._decide(None, None)[0] == NOT_RUN

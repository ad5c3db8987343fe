"""Normalisation within groups: by hand, and by what must not change it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.errors import UserError
from encore.rewards import normalize

NAN = math.nan
# Whole numbers: the maps below keep their order and their ties exactly, and rounding has no say.
GROUPS = st.integers(1, 6).flatmap(
    lambda size: st.lists(st.integers(-50, 50), min_size=size, max_size=4 * size).map(
        lambda values: (size, [float(value) for value in values[: len(values) // size * size]])
    )
)


def same(found, expected):
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)


def test_ranks_by_hand():
    same(normalize([3.0, 1.0, 2.0, 10.0], 4, "rank"), [2 / 3, 0.0, 1 / 3, 1.0])
    same(normalize([5.0, 5.0, 1.0, 9.0], 4), [0.5, 0.5, 0.0, 1.0])  # ranks 2 and 3 are shared: 1.5 of 3
    same(normalize([1.0, 1.0, 2.0, 2.0, 2.0], 5), [0.125, 0.125, 0.75, 0.75, 0.75])
    same(normalize([7.0] * 3, 3), [0.5] * 3)
    same(normalize([1.0, 2.0, 20.0, 10.0], 2), [0.0, 1.0, 1.0, 0.0])  # two groups


def test_zscores_by_hand():
    same(normalize([1.0, 2.0, 3.0], 3, "zscore"), [-1.0, 0.0, 1.0])
    root = math.sqrt(2)
    same(normalize([0.0, 4.0, 7.0, 7.0], 2, "zscore"), [-1 / root, 1 / root, 0.0, 0.0])
    same(normalize([0.1 + 0.2, 0.3], 2, "zscore"), [0.0, 0.0])  # constant but for rounding


def test_invalid_values_stay_invalid_and_count_for_nothing():
    same(normalize([3.0, None, 1.0, NAN], 4), [1.0, NAN, 0.0, NAN])
    same(normalize([3.0, None, 1.0, 2.0], 4, "zscore"), [1.0, NAN, -1.0, 0.0])
    same(normalize([3.0, None, math.inf, -math.inf], 4, "raw"), [3.0, NAN, NAN, NAN])
    same(normalize([3.0, None], 2), [0.5, NAN])
    same(normalize([3.0, None], 2, "zscore"), [0.0, NAN])
    same(normalize([None, None, 1.0, 2.0], 2), [NAN, NAN, 0.0, 1.0])


@pytest.mark.parametrize("how", ["rank", "zscore", "raw"])
def test_tensors_are_taken_as_lists_are(how):
    values = [0.25, 4.0, NAN, 4.0, 1.5, -3.0]
    same(normalize(torch.tensor(values), 3, how), normalize(values, 3, how).tolist())
    assert normalize(torch.tensor(values).bfloat16(), 3, how).dtype == torch.float32
    assert normalize([], 3, how).shape == (0,)


@given(GROUPS)
@settings(deadline=None)
def test_ranks_do_not_change_under_increasing_maps(group):
    size, values = group
    expected = normalize(values, size)
    for change in (lambda x: 3 * x - 7, lambda x: x**3, math.atan, lambda x: math.exp(x / 10)):
        assert torch.equal(normalize([change(value) for value in values], size), expected)
    assert torch.allclose(normalize([-value for value in values], size), 1 - expected)
    assert bool(((expected >= 0) & (expected <= 1)).all())


@given(GROUPS, st.integers(-1000, 1000), st.sampled_from([0.25, 1.0, 3.0, 1e4]))
@settings(deadline=None)
def test_zscores_do_not_change_under_shift_and_scale(group, shift, scale):
    size, values = group
    expected = normalize(values, size, "zscore")
    torch.testing.assert_close(
        normalize([scale * value + shift for value in values], size, "zscore"), expected, atol=1e-5, rtol=1e-5
    )
    by_group = expected.view(-1, size)
    torch.testing.assert_close(by_group.mean(1), torch.zeros(len(by_group)), atol=1e-5, rtol=0)
    for row, given_row in zip(by_group, torch.tensor(values).view(-1, size), strict=True):
        constant = given_row.unique().numel() == 1
        assert bool((row == 0).all()) if constant else float(row.std()) == pytest.approx(1, abs=1e-5)


@given(GROUPS, st.sampled_from(["raw", "rank", "zscore"]), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_within_a_group_and_other_groups_do_not_matter(group, how, random):
    size, values = group
    expected = normalize(values, size, how)
    places = []
    for start in range(0, len(values), size):
        own = list(range(start, start + size))
        random.shuffle(own)
        places += own
    torch.testing.assert_close(normalize([values[place] for place in places], size, how), expected[places])
    for start in range(0, len(values), size):
        alone = normalize(values[start : start + size], size, how)
        assert torch.equal(alone, expected[start : start + size])


def test_what_is_no_group_or_no_way_is_said():
    with pytest.raises(UserError, match="5 rewards are no whole number of groups of 2"):
        normalize([1.0] * 5, 2)
    with pytest.raises(UserError, match="groups of 0"):
        normalize([1.0], 0)
    with pytest.raises(UserError, match="'softmax': choose from raw, rank, zscore"):
        normalize([1.0], 1, "softmax")

"""Advantages of weighted rewards against numbers worked out by hand, and what must hold whatever the numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.scalarization import group_advantages, normalized, scores


def valid(number: int, *missing: int) -> torch.Tensor:
    return torch.tensor([place not in missing for place in range(number)])


def test_by_hand():
    """Rewards (1, 0), (0, 1), (1, 1), (0, 0) under weights (3/4, 1/4), (1/4, 3/4), (1, 0), (1/2, 1/2): scores 3/4, 3/4,
    1, 0, mean 5/8, squared deviations 1/64, 1/64, 9/64, 25/64, sum 36/64, sample deviation sqrt(12/64) = 0.4330."""
    rewards = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0]])
    weights = torch.tensor([[0.75, 0.25], [0.25, 0.75], [1, 0], [0.5, 0.5]])
    found = scores(rewards, weights)
    assert found.tolist() == pytest.approx([0.75, 0.75, 1, 0])
    deviation = (12 / 64) ** 0.5 + 1e-4
    expected = [0.125 / deviation, 0.125 / deviation, 0.375 / deviation, -0.625 / deviation]
    assert group_advantages(found, valid(4), 4).tolist() == pytest.approx(expected)
    unscaled = group_advantages(found, valid(4), 4, scale=False)
    assert unscaled.tolist() == pytest.approx([0.125, 0.125, 0.375, -0.625])


def test_groups_do_not_see_each_other():
    first, second = torch.tensor([1.0, 0, 0, 0]), torch.tensor([5.0, 7, 5, 7])
    both = group_advantages(torch.cat([first, second]), valid(8), 4)
    assert torch.equal(both[:4], group_advantages(first, valid(4), 4))
    assert torch.equal(both[4:], group_advantages(second, valid(4), 4))


def test_a_dropped_response_is_not_averaged_in():
    """1, 0 and 2 without the third, whose score is not even a number: as the group of three would have it."""
    whole = group_advantages(torch.tensor([1.0, 0, 2]), valid(3), 3)
    found = group_advantages(torch.tensor([1.0, 0, float("nan"), 2]), valid(4, 2), 4)
    assert found[2] == 0
    assert torch.equal(found[[0, 1, 3]], whole)
    alone = group_advantages(torch.tensor([1.0, float("inf")]), valid(2, 1), 2)
    assert alone.tolist() == [0, 0], "one response has nothing to be compared with"


@given(
    st.lists(st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4), min_size=1, max_size=3),
    st.floats(0.1, 10),
)
@settings(deadline=None, max_examples=25)
def test_sums_to_zero_and_knows_no_shift(values, shift):
    given = torch.tensor(values, dtype=torch.float64).flatten()
    found = group_advantages(given, valid(len(given)), 4)
    assert found.view(-1, 4).sum(1).abs().max() < 1e-4
    moved = group_advantages(given + shift, valid(len(given)), 4)
    spread = given.view(-1, 4).amax(1) - given.view(-1, 4).amin(1)
    clear = ((spread > 1e-4) | (spread == 0)).repeat_interleave(4)
    assert torch.allclose(found[clear], moved[clear], atol=1e-3)


@given(st.floats(-1e3, 1e3, width=32), st.integers(0, 1000))
@settings(deadline=None, max_examples=25)
def test_equal_rewards_have_no_advantage_under_any_weights(value, seed):
    """Float32 weights sum to 1 but for 1e-7; divided by 1e-4 that would be an advantage."""
    weights = torch.softmax(torch.randn(8, 5, generator=torch.Generator().manual_seed(seed)) * 3, dim=1)
    found = scores(torch.full((8, 5), value), weights)
    assert torch.equal(group_advantages(found, valid(8), 4), torch.zeros(8))


def test_the_gradient_reaches_the_weights_and_is_finite_in_a_constant_group():
    logits = torch.zeros(8, 2, requires_grad=True)
    rewards = torch.tensor([[1.0, 0], [0, 1], [1, 1], [0, 0], *[[1, 1]] * 4])
    advantages = group_advantages(scores(rewards, torch.softmax(logits, 1)), valid(8), 4)
    advantages[0].backward()
    assert bool(torch.isfinite(logits.grad).all())
    assert float(logits.grad[0].abs().max()) > 0
    assert float(logits.grad[4:].abs().max()) == 0


def test_each_channel_is_normalised_as_asked_and_without_what_is_missing():
    rewards = torch.tensor([[10.0, 1], [30, 1], [20, 1], [float("nan"), 1], [1, 0], [2, 0], [3, 0], [4, 1]])
    found = normalized(rewards, valid(8, 3), 4, ["rank", "raw"])
    assert found[:, 0].tolist() == pytest.approx([0, 1, 0.5, 0, 0, 1 / 3, 2 / 3, 1])
    assert found[:, 1].tolist() == [1, 1, 1, 0, 0, 0, 0, 1], "0 stands where nothing is counted"


def test_a_channel_constant_over_a_group_tells_nothing_apart():
    constant = torch.tensor([[1.0, 0.0], [1, 1], [1, 2], [1, 3]])
    for how in ("rank", "zscore"):
        both = normalized(constant, valid(4), 4, [how, how])
        assert len(set(both[:, 0].tolist())) == 1
        weights = torch.tensor([[0.5, 0.5]]).expand(4, -1)
        alone = torch.tensor([[0.0, 1.0]]).expand(4, -1)
        mixed = group_advantages(scores(both, weights), valid(4), 4)
        assert torch.allclose(mixed, group_advantages(scores(both, alone), valid(4), 4), atol=1e-3)

"""Advantages of GRPO and GiGPO against numbers worked out by hand, and what must hold whatever the numbers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encore.rollout import Episode, Turn
from encore.training.agents import AgentRLSettings, gigpo, grpo


def episode(rewards, anchors=None, invalid=()):
    turns = [Turn([1], [2, 3], [-0.5, -0.1], admissible=index not in invalid) for index in range(len(rewards))]
    anchors = anchors or [f"state {index}" for index in range(len(rewards))]
    return Episode(
        observations=["look", *anchors[1:], "end"],
        actions=["go"] * len(rewards),
        rewards=list(rewards),
        turns=turns,
        anchors=list(anchors),
        invalid_actions=len(invalid),
    )


def test_grpo_by_hand():
    """Returns 1, 0, 0, 0: mean 0.25, sample deviation 0.5; so 1.5 and three times -0.5, over 1 + 1e-4 / 0.5."""
    group = [episode([0, 1.0]), episode([0.0]), episode([0, 0, 0.0]), episode([0.0])]
    found = grpo.advantages([group], [torch.tensor([1.0, 0, 0, 0])], AgentRLSettings())
    assert [len(values) for values in found[0]] == [2, 1, 3, 1], "one a turn"
    assert found[0][0].tolist() == pytest.approx([0.75 / 0.5001] * 2)
    assert found[0][2].tolist() == pytest.approx([-0.25 / 0.5001] * 3)
    unscaled = grpo.advantages([group], [torch.tensor([1.0, 0, 0, 0])], AgentRLSettings(scale_advantages=False))
    assert unscaled[0][0].tolist() == pytest.approx([0.75, 0.75])


@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=4), st.floats(0.1, 10))
@settings(deadline=None, max_examples=50)
def test_grpo_advantages_sum_to_zero_and_know_no_shift(returns, shift):
    groups = [[episode([0.0])] * 4 for _ in returns]
    values = [torch.tensor(row, dtype=torch.float32) for row in returns]
    found = grpo.advantages(groups, values, AgentRLSettings())
    moved = grpo.advantages(groups, [value + shift for value in values], AgentRLSettings())
    for of_group, of_moved, value in zip(found, moved, values, strict=True):
        flat = torch.cat(of_group)
        assert float(flat.sum()) == pytest.approx(0, abs=1e-4)
        assert torch.allclose(flat, torch.cat(of_moved), atol=1e-3)
        assert bool((flat == 0).all()) == (len(set(value.tolist())) == 1), "no variance, no advantage, exactly"


def test_step_returns_are_discounted_and_penalized():
    rewards = gigpo.step_rewards(episode([0.0, 0.0, 1.0], invalid={0}), invalid_penalty=0.1)
    assert rewards.tolist() == pytest.approx([-0.1, 0.0, 1.0])
    assert gigpo.discounted(rewards, 0.5).tolist() == pytest.approx([-0.1 + 0.25, 0.5, 1.0])


def test_gigpo_by_hand():
    """Two episodes meet state `b`: one is a step from winning (return 1), the other two steps after a win that never
    comes (return 0). Deviation of (1, 0) is 0.7071, so the steps' advantages are 0.5 / 0.7072 and its negative; `a`,
    where both start, has returns gamma and 0; `c` occurs once and adds nothing."""
    group = [episode([0.0, 1.0], ["a", "b"]), episode([0.0, 0.0, 0.0], ["a", "b", "c"])]
    chosen = AgentRLSettings(algorithm="gigpo", discount=0.9, step_weight=2.0)
    steps = gigpo.step_advantages(group, chosen)
    of_a = 0.45 / (0.9 / 2**0.5 + 1e-4)
    of_b = 0.5 / (1 / 2**0.5 + 1e-4)
    assert steps[0].tolist() == pytest.approx([of_a, of_b])
    assert steps[1].tolist() == pytest.approx([-of_a, -of_b, 0.0])
    whole = gigpo.advantages([group], [torch.tensor([1.0, 0.0])], chosen)[0]
    assert whole[0].tolist() == pytest.approx([of_b + 2 * of_a, of_b + 2 * of_b]), (
        "the episodes' returns are 1 and 0 too"
    )
    assert whole[1].tolist() == pytest.approx([-of_b - 2 * of_a, -of_b - 2 * of_b, -of_b])


def test_a_state_seen_twice_in_one_episode_is_one_group():
    group = [episode([0.0, 0.0, 1.0], ["a", "a", "b"]), episode([0.0], ["z"])]
    first, second, last = gigpo.step_advantages(group, AgentRLSettings(discount=0.5))[0].tolist()
    assert first == pytest.approx(-second)
    assert first < 0 < second, "the later visit was nearer to the win"
    assert last == 0


def test_gigpo_without_weight_is_grpo():
    group = [episode([0.0, 1.0]), episode([0.0, 0.0])]
    returns = [torch.tensor([1.0, 0.0])]
    plain = grpo.advantages([group], returns, AgentRLSettings())
    same = gigpo.advantages([group], returns, AgentRLSettings(step_weight=0.0))
    assert all(torch.equal(a, b) for a, b in zip(plain[0], same[0], strict=True))

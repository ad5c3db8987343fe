"""Several rewards at once: what comes back is checked, and a message names the reward and the example."""

from __future__ import annotations

import math

import pytest
import torch

from encore import rewards
from encore.errors import UserError

PROMPTS = [f"question {number}" for number in range(6)]
COMPLETIONS = [f"{'x' * number}" for number in range(6)]


def length(prompts, completions, **columns):
    return [float(len(completion)) for completion in completions]


def column(prompts, completions, bonus, **columns):
    return bonus


def gives(value, name="given"):
    def reward(prompts, completions, **columns):
        return [value if completion == "xxx" else 1.0 for completion in completions]

    reward.__name__ = name
    return reward


def raises(prompts, completions, **columns):
    if "xxxx" in completions:
        raise KeyError("no such\nword")
    return length(prompts, completions)


def test_each_reward_is_a_column_in_the_order_of_the_examples():
    found = rewards.score([length, column], PROMPTS, COMPLETIONS, {"bonus": [9.0, 8, 7, 6, 5, 4], "step": 3})
    assert found.dtype == torch.float32
    assert found.tolist() == [[0, 9], [1, 8], [2, 7], [3, 6], [4, 5], [5, 4]]
    assert rewards.valid(found).all()
    assert rewards.score([length], [], [], {}).shape == (0, 1)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 1e39, "good", [1.0, 2.0]])
def test_what_is_no_number_is_refused_or_dropped(value):
    with pytest.raises(UserError, match=r"reward 'given' (gave|returned) .* for example 3 \('question 3'\)"):
        rewards.score([length, gives(value)], PROMPTS, COMPLETIONS)
    found = rewards.score([length, gives(value)], PROMPTS, COMPLETIONS, invalid="drop")
    assert rewards.valid(found).tolist() == [True, True, True, False, True, True]
    assert found[3, 0] == 3
    assert math.isnan(found[3, 1])


def test_a_function_that_raises_is_named_with_the_example_it_fails_on():
    with pytest.raises(UserError, match=r"^reward 'raises' failed on example 4 \('question 4'\) \(KeyError: [^\n]*$"):
        rewards.score([length, raises], PROMPTS, COMPLETIONS)
    found = rewards.score([length, raises], PROMPTS, COMPLETIONS, invalid="drop")
    assert rewards.valid(found).tolist() == [True, True, True, True, False, True]
    assert found[5].tolist() == [5, 5]
    by_group = rewards.score([raises], PROMPTS, COMPLETIONS, invalid="drop", group_size=3)
    assert rewards.valid(by_group).tolist() == [True, True, True, False, False, False]


def test_a_function_that_raises_on_everything_or_on_no_single_example_is_broken():
    def never(prompts, completions, **columns):
        raise ZeroDivisionError

    def together(prompts, completions, **columns):
        return [1.0 / (len(completions) == 1)]

    for invalid in ("refuse", "drop"):
        with pytest.raises(UserError, match=r"reward 'never' failed on (every example|example 0).*no message"):
            rewards.score([never], PROMPTS, COMPLETIONS, invalid=invalid)
        with pytest.raises(UserError, match="reward 'together' failed on all 6 examples together, but on none alone"):
            rewards.score([together], PROMPTS, COMPLETIONS, invalid=invalid)


def test_an_error_of_the_users_passes_as_it_is():
    def gone(prompts, completions, **columns):
        raise UserError("the judge cannot be reached: start it")

    with pytest.raises(UserError, match=r"^the judge cannot be reached: start it$"):
        rewards.score([gone], PROMPTS, COMPLETIONS, invalid="drop")


def test_counts_that_do_not_match_are_refused_in_both_ways():
    def short(prompts, completions, **columns):
        return [1.0]

    for invalid in ("refuse", "drop"):
        with pytest.raises(UserError, match="reward 'short' returned 1 values for 6 responses"):
            rewards.score([short], PROMPTS, COMPLETIONS, invalid=invalid)
    with pytest.raises(UserError, match="6 prompts and 5 completions"):
        rewards.score([length], PROMPTS, COMPLETIONS[:5])
    with pytest.raises(UserError, match="a name of its own"):
        rewards.score([length, length], PROMPTS, COMPLETIONS)

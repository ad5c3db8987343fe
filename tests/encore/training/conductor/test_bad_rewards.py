"""Reward functions that misbehave: refused by name, or their responses dropped, never averaged away."""

from __future__ import annotations

import math

import pytest
import torch

from encore.errors import UserError

from .conftest import REWARDS, gradients, places_of


def with_one(value):
    """A reward that is the length, but `value` for the second response of the first group."""

    def odd(prompts, completion_ids, **_):
        result = [-float(len(ids)) for ids in completion_ids]
        result[1] = value
        return result

    return odd


def too_few(prompts, **_):
    return [0.0] * (len(prompts) - 1)


def failing(prompts, **_):
    raise ValueError("the judge\nis away")


@pytest.mark.parametrize("late", [False, True], ids=["before the pass", "from the pass"])
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (with_one(None), "reward 'odd' gave None"),
        (with_one(math.nan), "reward 'odd' gave nan"),
        (with_one(math.inf), "reward 'odd' gave inf"),
        (with_one("much"), "reward 'odd' returned 'much'"),
        (too_few, "reward 'odd' returned .* values for .* responses"),
        (failing, r"reward 'odd' failed .*ValueError: the judge is away"),
    ],
)
def test_it_is_refused_with_the_rewards_name(train, odd, message, late):
    def from_pass(prompts, completions, entropies, **columns):
        return odd(prompts=prompts, completions=completions, **columns)

    with pytest.raises(UserError, match=message) as caught:
        train(rewards={"word": REWARDS["word"], "odd": from_pass if late else odd}, steps=1)
    assert "\n" not in str(caught.value)


def test_a_function_that_fails_everywhere_or_miscounts_is_refused_also_where_responses_are_dropped(train):
    for odd in (too_few, failing):
        with pytest.raises(UserError, match="reward 'odd'"):
            train(rewards={"word": REWARDS["word"], "odd": odd}, steps=1, bad_rewards="drop")


def test_a_training_that_drops_everything_ends(train):
    nothing = {"word": REWARDS["word"], "odd": lambda prompts, **_: [None] * len(prompts)}
    with pytest.raises(UserError, match="all responses of step 1 were dropped"):
        train(rewards=nothing, steps=2, bad_rewards="drop")


@pytest.mark.parametrize("late", [False, True], ids=["before the pass", "from the pass"])
def test_a_dropped_response_is_in_no_mean(trainer_of, late):
    """The loss has gradient 0 with respect to its tokens, and its group's other responses have the advantages of a
    group of three."""
    row = 1  # of the batch that reward functions see first
    chosen = {}

    def odd(prompts, completions, completion_ids, **_):
        result = [-float(len(ids)) + 0.1 * place for place, ids in enumerate(completion_ids)]
        if "prompt" not in chosen:
            chosen["prompt"], chosen["ids"] = prompts[row], completion_ids[row]
            result[row] = math.nan
        return result

    def from_pass(prompts, completions, entropies, completion_ids, **columns):
        return odd(prompts, completions, completion_ids, **columns)

    trainer = trainer_of(
        "equal", {"odd": from_pass if late else odd}, bad_rewards="drop", kl=0.1, normalization_by_reward={"odd": "raw"}
    )
    seen = []
    inner = trainer._advantages
    trainer._advantages = lambda inputs, *args: seen.append((inputs, inner(inputs, *args))) or seen[-1][1]
    gradients(trainer)
    dropped = [
        (inputs, advantages, place)
        for inputs, advantages in seen
        for place in range(len(advantages))
        if int(inputs["completion_mask"][place].sum()) == 0
    ]
    ((inputs, advantages, place),) = dropped
    length = inputs["answered"].lengths[place]
    assert inputs["completion_ids"][place, :length].tolist()[: len(chosen["ids"])] == chosen["ids"]
    group = slice(place // 4 * 4, place // 4 * 4 + 4)
    raw = inputs["answered"].raw[group, 0] if not late else trainer._raw[0][group, 0]
    others = [index for index in range(4) if index != place % 4]
    three = raw[others]
    expected = (three - three.mean()) / (three.std() + 1e-4)
    assert torch.allclose(advantages[group][others], expected, atol=1e-4)
    assert float(advantages[place]) == 0
    assert float(torch.cat(trainer._raw).isnan().sum()) == 1
    if not late:
        tokens = sum(sum(one["answered"].lengths) for one, _ in seen) - length
        assert float(inputs["num_items_in_batch"]) == tokens


def test_dropping_changes_nothing_where_nothing_is_missing(trainer_of):
    refusing, dropping = (gradients(trainer_of("equal", bad_rewards=bad)) for bad in ("refuse", "drop"))
    assert all(torch.equal(value, dropping[name]) for name, value in refusing.items())


def test_dropped_responses_are_counted(train):
    def odd(prompts, **_):
        return [None, *[float(place) for place in range(1, len(prompts))]]

    _, result, recorded = train(rewards={"word": REWARDS["word"], "odd": odd}, bad_rewards="drop", steps=3)
    assert recorded.values("rollout/dropped_share") == [1 / 16] * 3
    assert result.steps == 3


def test_prompts_come_in_whole_groups(trainer_of):
    seen = []

    def look(prompts, **_):
        seen.append(list(prompts))
        return [0.0] * len(prompts)

    trainer = trainer_of(rewards={"look": look, "word": REWARDS["word"]})
    trainer._answer(places_of(trainer))
    (prompts,) = seen
    assert all(len(set(prompts[start : start + 4])) == 1 for start in range(0, 16, 4))

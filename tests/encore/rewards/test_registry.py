"""Rewards by name: every file of the folder is one, its parameters are checked, and it has TRL's shape."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pytest
from trl.trainer.utils import get_callable_name, is_async_callable

from encore import rewards
from encore.errors import UserError
from encore.rewards import functions

NAMES = rewards.names()


def test_the_five_of_maestro_are_there():
    assert {"perplexity", "format", "entropy", "length", "preference"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_reward_has_what_a_reward_needs(name):
    module = importlib.import_module(f"{functions.__name__}.{name}")
    assert dataclasses.is_dataclass(module.Settings)
    made = module.Reward(module.Settings(), rewards.Context())
    assert isinstance(made, rewards.Reward)
    assert made.name == made.__name__ == name
    assert made.label
    assert get_callable_name(made) == name
    assert not is_async_callable(made)
    parameters = list(inspect.signature(made).parameters)
    assert parameters[:2] == ["prompts", "completions"], "TRL and trainers pass these by name"
    assert parameters[-1] == "columns", "and columns that the reward does not know"
    reason = made.skip()
    if reason is not None:
        with pytest.raises(UserError) as raised:
            rewards.reward(name)
        assert str(raised.value) == f"reward {name} {reason}"
        assert "\n" not in reason


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(UserError, match=r"unknown reward 'perplexty': choose from .*format, .*perplexity"):
        rewards.reward("perplexty")


def test_parameters_are_checked():
    with pytest.raises(UserError, match=r"rewards\.length\.maximum is no setting: choose from max_tokens"):
        rewards.reward("length", {"maximum": 3})
    with pytest.raises(UserError, match=r"rewards\.length\.max_tokens is 'many': it must be of type int"):
        rewards.reward("length", {"max_tokens": "many"})
    with pytest.raises(UserError, match=r"rewards\.length\.max_tokens is 0"):
        rewards.reward("length", {"max_tokens": 0})
    with pytest.raises(UserError, match=r"rewards\.entropy\.sign is 2"):
        rewards.reward("entropy", {"sign": 2})
    with pytest.raises(UserError, match="answer_column is 'reference'"):
        rewards.reward("perplexity", {"answer_column": "reference"})


@pytest.mark.parametrize(
    ("name", "parameter"), [("perplexity", "reference"), ("efficiency", "reference"), ("entropy", "entropies")]
)
def test_what_a_trainer_passes_by_step_is_named_in_the_signature(name, parameter):
    """`encore.training.conductor` looks there for what a reward wants of it."""
    module = importlib.import_module(f"{functions.__name__}.{name}")
    assert parameter in inspect.signature(module.Reward(module.Settings(), rewards.Context())).parameters

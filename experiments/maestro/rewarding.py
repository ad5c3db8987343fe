"""The reward functions of a cell, from its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from encore import rewards
from encore.chat import ChatFormat
from encore.training.conductor import RewardFunction


def reward_functions(
    chosen: dict[str, dict[str, Any]], chat: ChatFormat, group_size: int, cache: Path
) -> dict[str, RewardFunction]:
    """Rewards by name in the order of `chosen`, which holds their parameters; `cache` keeps a judge's verdicts.

    Raises UserError for an unknown name or parameter, or a reward that lacks something.
    """
    context = rewards.Context(tokenizer=chat.tokenizer, chat=chat, group_size=group_size, cache=cache)
    return {name: rewards.reward(name, parameters, context) for name, parameters in chosen.items()}

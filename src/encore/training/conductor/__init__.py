"""GRPO with several rewards and one answer a prompt, on TRL's GRPOTrainer, under MAESTRO's Conductor or its rivals.

The trainer is imported on first use: settings alone cost no import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from encore.training.conductor.settings import MultiRewardSettings

if TYPE_CHECKING:
    from encore.training.conductor.prompts import Prompt
    from encore.training.conductor.scoring import RewardFunction
    from encore.training.conductor.trainer import MultiRewardTrainer
    from encore.training.conductor.training import MultiRewardResult, multi_reward_rl

__all__ = [
    "MultiRewardResult",
    "MultiRewardSettings",
    "MultiRewardTrainer",
    "Prompt",
    "RewardFunction",
    "multi_reward_rl",
]

_PLACES = {
    "MultiRewardResult": "training",
    "multi_reward_rl": "training",
    "MultiRewardTrainer": "trainer",
    "Prompt": "prompts",
    "RewardFunction": "scoring",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

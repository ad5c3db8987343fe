"""What the settings of a training on several rewards mean to TRL and to the normalisation of rewards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel
from trl import GRPOConfig

from encore.errors import UserError
from encore.rewards.normalization import HOW
from encore.training.conductor.settings import MultiRewardSettings
from encore.training.grpo_arguments import grpo_arguments


def normalization(settings: MultiRewardSettings, names: Sequence[str]) -> list[str]:
    """How each of the rewards `names` is normalised. Raises UserError for a name or a way that there is not."""
    unknown = sorted(set(settings.normalization_by_reward) - set(names))
    if unknown:
        raise UserError(f"rl.normalization_by_reward names {unknown[0]!r}: the rewards are {', '.join(names)}")
    found = [settings.normalization_by_reward.get(name, settings.reward_normalization) for name in names]
    for name, how in zip(names, found, strict=True):
        if how not in HOW:
            raise UserError(f"the normalisation of reward '{name}' is {how!r}: choose from {', '.join(HOW)}")
    return found


def trl_config(settings: MultiRewardSettings, model: PreTrainedModel, seed: int, checkpoints: Path) -> GRPOConfig:
    """TRL's arguments: one step answers all of its prompts and makes one update, in device steps of whole groups."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    steps = settings.accumulation(processes)
    return GRPOConfig(
        **grpo_arguments(settings, model, seed, checkpoints),
        per_device_train_batch_size=settings.responses // (processes * steps),
        gradient_accumulation_steps=steps,
        steps_per_generation=steps,
        max_steps=settings.steps,
        max_completion_length=settings.max_response_tokens,
        loss_type="dapo" if settings.loss_normalization == "token" else "grpo",
    )

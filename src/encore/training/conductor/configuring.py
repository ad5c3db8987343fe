"""What the settings of a training on several rewards mean to TRL and to the normalisation of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel
from trl import GRPOConfig

from encore.errors import UserError
from encore.rewards.normalization import HOW
from encore.training.conductor.settings import MultiRewardSettings


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
    """TRL's arguments: one step answers all of its prompts and makes one update, in `device_steps` device steps."""
    on_gpu = model.device.type == "cuda"
    return GRPOConfig(
        output_dir=str(checkpoints),
        per_device_train_batch_size=settings.responses // settings.device_steps,
        gradient_accumulation_steps=settings.device_steps,
        steps_per_generation=settings.device_steps,
        num_generations=settings.group_size,
        max_steps=settings.steps,
        temperature=settings.temperature,
        max_completion_length=settings.max_response_tokens,
        beta=0.0,
        loss_type="dapo" if settings.loss_normalization == "token" else "grpo",
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_share,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        gradient_checkpointing=settings.gradient_checkpointing,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        seed=seed,
        shuffle_dataset=False,  # `order` is already the order in which prompts are answered
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
    )

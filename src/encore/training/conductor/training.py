"""GRPO on several rewards, from a starting policy and prompts to a trained policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel, PrinterCallback

from encore.chat import ChatFormat
from encore.errors import UserError
from encore.scalarization import Scalarizer
from encore.training.agents.trainer import Progress
from encore.training.conductor.curves import Recorder
from encore.training.conductor.prompts import Prompt, prompt_order
from encore.training.conductor.scoring import RewardFunction
from encore.training.conductor.settings import MultiRewardSettings
from encore.training.conductor.trainer import MultiRewardTrainer
from encore.training.forward import restore_forward
from encore.training.whole import whole


@dataclass(frozen=True)
class MultiRewardResult:
    """What a training did.

    Attributes:
        steps: of the policy.
        responses: that it learned from.
        last: the curves' values in the last step.
        weights: a row for each kind of prompt with the mean weight of each reward over the last quarter of the steps,
            to show as a heat map: `kind`, `responses`, and the rewards by name.
        history: the same step by step: `step`, `kind`, `responses`, `weights` (in the rewards' order).
    """

    steps: int
    responses: int
    last: dict[str, float]
    weights: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


def multi_reward_rl(
    model: PreTrainedModel,
    chat: ChatFormat,
    prompts: Sequence[Prompt],
    rewards: Mapping[str, RewardFunction],
    scalarizer: Scalarizer,
    settings: MultiRewardSettings,
    *,
    seed: int,
    checkpoints: Path,
    progress: Progress,
    parameters: Mapping[str, Any] | None = None,
) -> tuple[PreTrainedModel, MultiRewardResult]:
    """Trains `model` on its own answers to `prompts`; returns it and what was done.

    A run that was cut resumes from the checkpoint that `progress` committed last and ends where the uncut run would
    have, the scalarizer with it. Several processes (`accelerate launch`) learn what one does whose device batch is as
    large as theirs together; of sharded weights the first one gets the model, the others one without weights.

    Args:
        rewards: reward functions by name; see `encore.training.conductor.scoring` for their shape.
        scalarizer: from `encore.scalarization.scalarizer`, not started.
        parameters: the scalarizer's own.

    Raises:
        UserError: no prompt or reward; a prompt that leaves no room for an answer; what `scoring` refuses; a loss that
            is not finite.
    """
    if not prompts:
        raise UserError("there is no prompt to train on: give at least one")
    _check_columns(prompts)
    _check_lengths(model, chat, prompts, settings)
    restore_forward(model)  # it may come from another trainer
    recorder = Recorder(progress)
    trainer = MultiRewardTrainer(
        model,
        chat,
        prompts,
        prompt_order(len(prompts), settings, seed),
        rewards,
        scalarizer,
        settings,
        parameters=parameters or {},
        seed=seed,
        checkpoints=checkpoints,
        progress=progress,
        callbacks=[recorder],
    )
    trainer.remove_callback(PrinterCallback)  # metrics.jsonl has what it would print
    # The first process knows what was committed; all resume from it.
    committed = broadcast_object_list([progress.checkpoint])[0]
    last = None if committed is None else checkpoints / committed
    if last is not None:
        trainer.restore(last)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    trained = whole(trainer)
    restore_forward(trained)
    for parameter in trained.parameters():
        if parameter.device.type != "meta" and not bool(torch.isfinite(parameter).all()):  # the first process has it
            raise UserError("a trained weight is not finite: lower rl.learning_rate")
    result = MultiRewardResult(
        steps=trainer.state.global_step,
        responses=trainer.state.global_step * settings.responses,
        last=recorder.last,
        weights=trainer.history.table(),
        history=trainer.history.lines,
    )
    return trained.eval(), result


def _check_columns(prompts: Sequence[Prompt]) -> None:
    expected = set(prompts[0].columns)
    for place, prompt in enumerate(prompts):
        if set(prompt.columns) != expected:
            odd = sorted(set(prompt.columns) ^ expected)[0]
            raise UserError(f"prompt {place} and the first one differ in the column {odd!r}: all need the same columns")


def _check_lengths(
    model: PreTrainedModel, chat: ChatFormat, prompts: Sequence[Prompt], settings: MultiRewardSettings
) -> None:
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(range(len(prompts)), key=lambda place: len(prompts[place].text))
    number = len(chat.first(prompts[longest].text))
    if context is not None and number + settings.max_response_tokens > context:
        raise UserError(
            f"prompt {longest} has {number} tokens, and with rl.max_response_tokens {settings.max_response_tokens} "
            f"more the model's {context} are exceeded: lower rl.max_response_tokens or leave out long prompts"
        )

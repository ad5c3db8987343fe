"""Reinforcement learning of an agent, from a starting policy and tasks to a trained policy."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel, PrinterCallback

from encore.chat import ChatFormat
from encore.environments import TextEnv
from encore.errors import UserError
from encore.training.agents.guard import Guard, Recorder
from encore.training.agents.settings import AgentRLSettings
from encore.training.agents.trainer import AgentTrainer, Progress, Return
from encore.training.forward import restore_forward
from encore.training.whole import whole
from encore.trajectories import Example


@dataclass(frozen=True)
class AgentRLResult:
    """What a training did; `last` are the curves' values in the last iteration."""

    iterations: int
    updates: int
    episodes: int
    last: dict[str, float]


def agent_rl(
    model: PreTrainedModel,
    chat: ChatFormat,
    tasks: Sequence[Any],
    environment: Callable[[Any], TextEnv],
    settings: AgentRLSettings,
    *,
    max_steps: int,
    max_length: int,
    seed: int,
    checkpoints: Path,
    progress: Progress,
    prompt: Any = None,
    outcome: Return | None = None,
    demonstration: Callable[[Any], Example] | None = None,
) -> tuple[PreTrainedModel, AgentRLResult]:
    """Trains `model` on episodes of `tasks` that it plays itself; returns it (adapter merged) and what was done.

    A run that was cut resumes from the checkpoint that `progress` committed last and ends where the uncut run would
    have: tasks and draws of an episode follow from `seed`, the iteration and the episode's place alone, also with
    another number of processes (under `accelerate launch`).

    Args:
        environment: makes the environment of a task.
        max_steps: actions an episode at most.
        max_length: tokens an episode at most.
        prompt: format of prompts, see `encore.rollout`; None: plain chat turns.
        outcome: an episode's return before penalties; None: the sum of its rewards.
        demonstration: the tokens of an expert's episode of a task, prompted as `prompt` does; `rl.algorithm` hpt needs
            it, and no other looks at it.

    Raises:
        UserError: no task; numbers that do not divide; an environment that fails too often; a loss that is not finite;
            hpt without demonstrations, or with one of more than `max_length` tokens.
        CollapseError (a UserError): the guard stopped a collapsed policy.
    """
    if not tasks:
        raise UserError("there is no task to train on: the split sent none to RL")
    demonstrations = None
    if settings.algorithm == "hpt" and demonstration is not None:
        demonstrations = [demonstration(task) for task in tasks]
        for example in demonstrations:
            if len(example) > max_length:
                raise UserError(
                    f"the demonstration {example.id} has {len(example)} tokens, more than the context of {max_length}: "
                    "cut it when it is tokenized, or raise policy.max_length"
                )
    restore_forward(model)  # it may come from another trainer
    recorder = Recorder(progress, settings.updates, Guard(settings.guard))
    trainer = AgentTrainer(
        model,
        chat,
        lambda place: environment(tasks[place]),
        task_order(len(tasks), settings, seed),
        settings,
        max_steps=max_steps,
        max_length=max_length,
        seed=seed,
        checkpoints=checkpoints,
        progress=progress,
        prompt=prompt,
        outcome=outcome,
        demonstrations=demonstrations,
        callbacks=[recorder],
    )
    trainer.remove_callback(PrinterCallback)  # metrics.jsonl has what it would print
    # The first process knows what was committed; all resume from it.
    last = broadcast_object_list([None if progress.checkpoint is None else str(checkpoints / progress.checkpoint)])
    trainer.train(resume_from_checkpoint=last[0])
    trained: Any = whole(trainer)
    if settings.lora_rank:
        trained = trained.merge_and_unload()
    restore_forward(trained)
    for parameter in trained.parameters():
        seen = parameter.requires_grad and parameter.device.type != "meta"  # the first process has them
        if seen and not bool(torch.isfinite(parameter).all()):
            raise UserError("a trained weight is not finite: lower rl.learning_rate")
    result = AgentRLResult(
        iterations=trainer.state.global_step // settings.updates,
        updates=trainer.state.global_step,
        episodes=trainer.state.global_step // settings.updates * settings.episodes,
        last=recorder.last,
    )
    return trained.eval(), result


def task_order(number: int, settings: AgentRLSettings, seed: int) -> list[int]:
    """Places of tasks for all iterations: permutation after permutation, so that every task is played equally often."""
    generator = random.Random(seed)
    order: list[int] = []
    while len(order) < settings.iterations * settings.tasks_per_iteration:
        permutation = list(range(number))
        generator.shuffle(permutation)
        order += permutation
    return order[: settings.iterations * settings.tasks_per_iteration]

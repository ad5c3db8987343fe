"""How to train an agent by reinforcement learning, as a section of params.yaml; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from encore.errors import UserError


@dataclass(frozen=True)
class GuardSettings:
    """When a run counts as collapsed: a bound broken in `patience` iterations one after another stops it.

    `min_entropy` and `max_entropy` bound the mean of -log p over sampled tokens, in nats, at the
    sampling temperature: an estimate of the policy's entropy.
    """

    max_invalid_share: float = 0.8
    min_entropy: float = 0.005
    max_entropy: float = 3.0
    patience: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.max_invalid_share <= 1:
            raise UserError(f"guard.max_invalid_share is {self.max_invalid_share}: it is a share between 0 and 1")
        if not 0 <= self.min_entropy < self.max_entropy:
            raise UserError("guard.min_entropy must be at least 0 and below guard.max_entropy")
        if self.patience < 1:
            raise UserError(f"guard.patience is {self.patience}: it must be at least 1 iteration")


@dataclass(frozen=True)
class VLLMSettings:
    """vLLM as the engine of rollouts.

    Attributes:
        url: of the server (`vllm_server`), which is started apart; `encore plan` prints how.
        timeout_s: until it has to be up.
        group_port: where the first process hands weights to the server.
        gpu_memory_share: of a GPU's memory, what an engine beside the training takes (`vllm_colocated`).
        sleep: whether that engine gives its memory back during updates.
        correction_cap: engine and trainer compute the same token's probability a little differently; each token's loss
            is weighed by the ratio of both, cut at this number (truncated importance sampling, TRL's
            `vllm_importance_sampling_correction`). 0: not weighed.
    """

    url: str = "http://localhost:8000"
    timeout_s: float = 240.0
    group_port: int = 51216
    gpu_memory_share: float = 0.3
    sleep: bool = True
    correction_cap: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.gpu_memory_share < 1:
            raise UserError(f"rl.vllm.gpu_memory_share is {self.gpu_memory_share}: it is a share between 0 and 1")
        if self.correction_cap < 0:
            raise UserError(f"rl.vllm.correction_cap is {self.correction_cap}: it must be positive, or 0 for none")


@dataclass(frozen=True)
class AgentRLSettings:
    """One iteration plays `group_size` episodes of each of `tasks_per_iteration` tasks and learns from them.

    `updates` optimizer steps are made an iteration, each on its share of the tasks; more than one clips the ratio to
    the sampling policy to [1 - `clip_low`, 1 + `clip_high`]. `device_batch` bounds the sequences a device computes at
    once. `max_steps` ends an episode of the training earlier than the environment would: long failures cost most and
    teach least. `kl` weighs the divergence from the starting policy. `invalid_penalty` is taken from an episode's
    return for each action that was not admissible. `normalization`: `token` averages the loss over all response tokens,
    `episode` over the tokens of an episode first. `scale_advantages` divides by the group's deviation.
    `skip_constant_groups` leaves episodes without advantage out of the update: the same gradient for less work, if `kl`
    is 0. `discount` and `step_weight` are GiGPO's gamma and omega. HPT imitates a task of whose episodes at most the
    share `gamma` is won, and weighs its RL and SFT losses by `alpha` and `beta`. `lora_rank` 0 trains all weights.
    `rollout` is what plays the episodes, see `encore.training.agents.engines`.
    """

    algorithm: str = "grpo"
    iterations: int = 40
    tasks_per_iteration: int = 16
    group_size: int = 8
    max_steps: int | None = None
    temperature: float = 1.0
    updates: int = 1
    device_batch: int = 32
    learning_rate: float = 1e-5
    schedule: str = "constant_with_warmup"
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    kl: float = 0.0
    clip_low: float = 0.2
    clip_high: float = 0.2
    invalid_penalty: float = 0.01
    normalization: Literal["token", "episode"] = "token"
    scale_advantages: bool = True
    skip_constant_groups: bool = True
    discount: float = 0.95
    step_weight: float = 1.0
    gamma: float = 0.0
    alpha: float = 1.0
    beta: float = 1.0
    lora_rank: int = 0
    lora_alpha: int = 32
    gradient_checkpointing: bool = False
    max_action_tokens: int = 24
    rollout: Literal["transformers", "vllm_server", "vllm_colocated"] = "transformers"
    vllm: VLLMSettings = field(default_factory=VLLMSettings)
    rollout_batch: int = 256
    max_error_share: float = 0.05
    checkpoint_every: int = 10
    guard: GuardSettings = field(default_factory=GuardSettings)

    def __post_init__(self) -> None:
        for name in (
            "iterations",
            "tasks_per_iteration",
            "updates",
            "device_batch",
            "rollout_batch",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"rl.{name} is {getattr(self, name)}: it must be at least 1")
        if self.max_steps is not None and self.max_steps < 1:
            raise UserError(f"rl.max_steps is {self.max_steps}: it must be at least 1, or null")
        if self.group_size < 2:
            raise UserError(f"rl.group_size is {self.group_size}: an advantage needs at least 2 episodes of a task")
        if self.temperature <= 0 or self.learning_rate <= 0:
            raise UserError("rl.temperature and rl.learning_rate must be positive")
        if self.kl < 0 or self.invalid_penalty < 0:
            raise UserError("rl.kl and rl.invalid_penalty must be at least 0")
        if not 0 <= self.gamma <= 1:
            raise UserError(f"rl.gamma is {self.gamma}: it is a share of episodes won, between 0 and 1")
        if self.alpha < 0 or self.beta < 0 or self.alpha + self.beta == 0:
            raise UserError("rl.alpha and rl.beta must be at least 0, and one of them positive")
        if self.tasks_per_iteration % self.updates:
            raise UserError(
                f"rl.tasks_per_iteration {self.tasks_per_iteration} is no multiple of rl.updates {self.updates}: each "
                "update gets the same number of tasks"
            )

    @property
    def episodes(self) -> int:
        """Episodes an iteration, over all processes."""
        return self.tasks_per_iteration * self.group_size

    def accumulation(self, processes: int) -> int:
        """Device steps for one optimizer step of one process; raises UserError where tasks do not divide."""
        if self.tasks_per_iteration % (processes * self.updates):
            raise UserError(
                f"rl.tasks_per_iteration {self.tasks_per_iteration} is no multiple of processes x updates = "
                f"{processes} x {self.updates}: change one of them"
            )
        local = self.episodes // (processes * self.updates)
        return next(
            steps for steps in range(1, local + 1) if local % steps == 0 and local // steps <= self.device_batch
        )

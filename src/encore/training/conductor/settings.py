"""How to train on several rewards, as a section of params.yaml; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from encore.errors import UserError


@dataclass(frozen=True)
class MultiRewardSettings:
    """One step answers each of `prompts_per_step` prompts `group_size` times and makes one update of the policy.

    `device_batch` bounds the responses a device computes at once; they are whole groups. `kl` weighs the divergence
    from a reference, a copy of the policy that takes up `reference_share` of the policy's weights every
    `reference_every` steps (1: becomes the policy; 0 steps: stays the start). `reward_normalization` is how each reward
    is normalised in its group, `normalization_by_reward` says otherwise for single ones. `bad_rewards`: `refuse` ends
    the training where a reward is missing, NaN or infinite; `drop` leaves that response out. `loss_normalization`:
    `token` averages the loss over all response tokens, `response` over each response's tokens first.
    `scale_advantages` divides by the group's deviation. `layer` and `pooling` say which hidden state stands for a
    response: after the first block, after the middle one, or after the last and the final norm; at the last response
    token, or averaged over prompt and response.

    From arXiv 2601.07208: reference_every (E.4), layer (Table 8), the loss's KL as in TRL (C.5). The paper names no
    learning rate, batch, group size, KL weight, lengths or temperature.
    """

    steps: int = 40
    prompts_per_step: int = 8
    group_size: int = 8
    temperature: float = 1.0
    max_response_tokens: int = 256
    device_batch: int = 32
    learning_rate: float = 1e-5
    schedule: str = "constant_with_warmup"
    warmup_share: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    kl: float = 0.04
    reference_every: int = 6
    reference_share: float = 1.0
    reward_normalization: str = "rank"
    normalization_by_reward: dict[str, str] = field(default_factory=dict)
    bad_rewards: Literal["refuse", "drop"] = "refuse"
    loss_normalization: Literal["token", "response"] = "token"
    scale_advantages: bool = True
    layer: Literal["first", "middle", "last"] = "last"
    pooling: Literal["last_token", "mean"] = "last_token"
    gradient_checkpointing: bool = False
    rollout_batch: int = 256
    checkpoint_every: int = 10

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "prompts_per_step",
            "max_response_tokens",
            "device_batch",
            "rollout_batch",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"rl.{name} is {getattr(self, name)}: it must be at least 1")
        if self.group_size < 2:
            raise UserError(f"rl.group_size is {self.group_size}: an advantage needs at least 2 responses to a prompt")
        if self.device_batch < self.group_size:
            raise UserError(
                f"rl.device_batch is {self.device_batch}, less than rl.group_size {self.group_size}: a device step "
                "holds whole groups, so raise rl.device_batch or lower rl.group_size"
            )
        if self.temperature <= 0 or self.learning_rate <= 0:
            raise UserError("rl.temperature and rl.learning_rate must be positive")
        if self.kl < 0 or self.reference_every < 0:
            raise UserError("rl.kl and rl.reference_every must be at least 0")
        if not 0 < self.reference_share <= 1:
            raise UserError(f"rl.reference_share is {self.reference_share}: it is a share above 0, at most 1")

    @property
    def responses(self) -> int:
        """Responses a step."""
        return self.prompts_per_step * self.group_size

    @property
    def device_steps(self) -> int:
        """Device steps for one step of the policy in one process."""
        return self.accumulation(1)

    def accumulation(self, processes: int) -> int:
        """Device steps for one step of the policy: the fewest that hold the same number of whole groups each.

        Each of `processes` processes has as many. Raises UserError if prompts cannot be dealt evenly.
        """
        if self.prompts_per_step % processes:
            raise UserError(
                f"rl.prompts_per_step is {self.prompts_per_step}, and {processes} processes share them, in whole "
                "groups: make it a multiple of launch.processes"
            )
        prompts, groups = self.prompts_per_step // processes, self.device_batch // self.group_size
        return next(steps for steps in range(1, prompts + 1) if prompts % steps == 0 and prompts // steps <= groups)

"""HPT, hybrid post-training: tasks that the policy fails are imitated, the others explored, decided anew each time.

Source: Lv et al. 2025, "Towards a Unified View of Large Language Model Post-Training" (arXiv 2509.04419), and its code
(TsinghuaC3I/Unify-Post-Training, `mix_trainer.py` and `mix_actor.py` of `verl/mix_src`). Of each task of a batch n
episodes are played, and P is the share of them that are won. The task's loss is L = alpha L_RL + beta L_SFT, with the
second term gone where P > gamma and the first where P <= gamma: the rollouts leave the batch, and one demonstration of
the task takes their place. gamma is 0 for their Qwen models (only tasks that all episodes fail) and 2/8 for Llama;
their L_RL is GRPO's, without KL (`kl` 0) and without division by the group's deviation (`scale_advantages` false).

What the paper and its code leave open or do in two ways, and the reading taken here:
- The mean over the batch. The paper gives a loss a question; the code averages SFT tokens within each device step, so
  that the weight depends on how rows are dealt. Here L is the mean over tasks: alpha (1 - s) L_RL + beta s L_SFT, s the
  share of tasks that are imitated; L_RL as in GRPO over the rollouts that stay, L_SFT the mean over all response tokens
  of the demonstrations of one optimizer step.
- A win stands for the verifier's "correct": an episode that earns a part of the reward without winning has failed.
- Temperature. Imitation is at temperature 1, as in SFT; the code computes it at the rollouts', which is 1 there.
- Several turns. Only the actions of a demonstration are imitated; what the environment said is context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from encore.rollout import Episode
from encore.training.agents.batches import Row
from encore.training.agents.settings import AgentRLSettings
from encore.trajectories import Example


def pass_rate(group: Sequence[Episode]) -> float:
    """P: the share of a task's episodes that are won."""
    return sum(episode.won for episode in group) / len(group)


def imitated(groups: Sequence[Sequence[Episode]], settings: AgentRLSettings) -> list[bool]:
    """Of each task, whether it is imitated: P <= gamma; no task is under another algorithm."""
    return [settings.algorithm == "hpt" and pass_rate(group) <= settings.gamma for group in groups]


def demonstration_row(example: Example) -> Row:
    """A demonstration as a row: its actions are the response; it has no advantage and was not sampled."""
    nothing = [0.0] * len(example)
    return Row(example.input_ids, example.response_mask, nothing, nothing)


def imitation_loss(model: Any, batch: dict[str, Tensor], tokens: Tensor) -> Float[Tensor, ""]:
    """The sum of -log p over the response tokens of `batch` (see `batches.tensors`), in nats, over `tokens`."""
    input_ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1]
    precise = torch.promote_types(logits.dtype, torch.float32)
    losses = torch.nn.functional.cross_entropy(
        logits.to(precise).transpose(1, 2), batch["completion_ids"], reduction="none"
    )
    return (losses * batch["completion_mask"] * batch["tool_mask"]).sum() / tokens.clamp(min=1)


def mixed_loss(explored: Tensor, model: Any, inputs: dict[str, Any], processes: int) -> Float[Tensor, ""]:
    """alpha (1 - s) `explored` + beta s L_SFT of one device step, where `inputs["imitation"]` says how."""
    imitation = inputs["imitation"]
    loss: Tensor = imitation["rl_weight"] * explored
    if imitation["rows"] is not None:
        # Processes average their gradients, so each gives its share of the mean, times their number.
        own = imitation_loss(model, imitation["rows"], imitation["tokens"]) * processes
        loss = loss + imitation["sft_weight"] * own
    return loss

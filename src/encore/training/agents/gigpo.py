"""GiGPO: GRPO's advantage of an episode, and one more of each step among the steps taken from the same state.

Source: Feng et al. 2025, "Group-in-Group Policy Optimization for LLM Agent Training" (arXiv 2505.10978), section 4.
Episodes of one task start alike and meet the same states again and again; the steps from a state form a group of their
own, in which a step counts for its discounted return from there, R_t = sum over k >= t of gamma^(k - t) r_k (equation
6). A step's advantage is A = A_episode + omega * A_step (equation 8), each normalized in its own group. A state that
occurs once tells nothing: its A_step is 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from encore.rollout import Episode
from encore.training.agents import grpo
from encore.training.agents.settings import AgentRLSettings


def advantages(
    groups: Sequence[Sequence[Episode]], returns: Sequence[Float[Tensor, " group"]], settings: AgentRLSettings
) -> list[list[Float[Tensor, " turns"]]]:
    """The advantage of every turn of every episode, as `grpo.advantages`, with the step's own part added."""
    result = grpo.advantages(groups, returns, settings)
    for group, of_episodes in zip(groups, result, strict=True):
        steps = step_advantages(group, settings)
        for place, own in enumerate(steps):
            of_episodes[place] = of_episodes[place] + settings.step_weight * own
    return result


def step_advantages(group: Sequence[Episode], settings: AgentRLSettings) -> list[Float[Tensor, " turns"]]:
    """A_step of every turn of the episodes of one task."""
    members: dict[str, list[tuple[int, int]]] = defaultdict(list)
    values = []
    for place, episode in enumerate(group):
        values.append(discounted(step_rewards(episode, settings.invalid_penalty), settings.discount))
        for turn, anchor in enumerate(episode.anchors[: len(episode.turns)]):
            members[anchor].append((place, turn))
    result = [torch.zeros_like(of_episode) for of_episode in values]
    for places in members.values():
        own = grpo.normalized(torch.stack([values[place][turn] for place, turn in places]), settings.scale_advantages)
        for (place, turn), value in zip(places, own, strict=True):
            result[place][turn] = value
    return result


def step_rewards(episode: Episode, invalid_penalty: float) -> Float[Tensor, " turns"]:
    """The environment's reward of each turn, less the penalty where the action was not admissible.

    A turn whose step the environment did not survive has no reward.
    """
    rewards = [*episode.rewards, *[0.0] * (len(episode.turns) - len(episode.rewards))]
    penalties = [0.0 if turn.admissible else invalid_penalty for turn in episode.turns]
    return torch.tensor([reward - penalty for reward, penalty in zip(rewards, penalties, strict=True)])


def discounted(rewards: Float[Tensor, " turns"], discount: float) -> Float[Tensor, " turns"]:
    """Return from each turn on."""
    result = rewards.clone()
    for turn in range(len(rewards) - 2, -1, -1):
        result[turn] += discount * result[turn + 1]
    return result

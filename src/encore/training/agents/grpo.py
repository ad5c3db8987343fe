"""GRPO: an episode's advantage is how much better it went than the other episodes of its task.

Source: Shao et al. 2024, "DeepSeekMath" (arXiv 2402.03300), section 4.1.2, outcome supervision: all tokens of an output
share (r - mean(r)) / std(r) of their group. Here an output is an episode of many turns and r its return.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from encore.rollout import Episode
from encore.training.agents.settings import AgentRLSettings

EPSILON = 1e-4  # TRL's, in the denominator
TIE = 1e-7  # a group whose returns differ by less has no variance


def normalized(values: Float[Tensor, " members"], scale: bool) -> Float[Tensor, " members"]:
    """`values` less their mean, over their sample deviation if `scale`; exactly 0 where they do not differ."""
    if len(values) < 2 or float(values.max() - values.min()) < TIE:
        return torch.zeros_like(values)
    centred = values - values.mean()
    return centred / (values.std() + EPSILON) if scale else centred


def advantages(
    groups: Sequence[Sequence[Episode]], returns: Sequence[Float[Tensor, " group"]], settings: AgentRLSettings
) -> list[list[Float[Tensor, " turns"]]]:
    """The advantage of every turn of every episode; in GRPO all turns of an episode have the same.

    `returns[g][i]` is the return of episode i of group g, penalties included.
    """
    result = []
    for group, values in zip(groups, returns, strict=True):
        shared = normalized(values, settings.scale_advantages)
        result.append([value.expand(len(episode.turns)) for value, episode in zip(shared, group, strict=True)])
    return result

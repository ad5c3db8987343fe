"""From several rewards of each response to one advantage: normalise, weigh, sum, compare with the group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encore.rewards import normalize

EPSILON = 1e-4  # TRL's, in the denominator
TIE = 1e-7  # a group whose scores differ by less, relative to the greatest, has no variance


def normalized(
    rewards: Float[Tensor, "batch K"], valid: Bool[Tensor, " batch"], group_size: int, how: Sequence[str]
) -> Float[Tensor, "batch K"]:
    """Every reward normalised in each group as `how` says, among the group's valid responses alone; 0 for the others.

    A reward that is constant over a group gets what `encore.rewards.normalize` gives to ties: it tells its responses
    nothing apart.
    """
    counted = torch.where(valid[:, None], rewards, torch.nan)
    channels = [normalize(counted[:, place], group_size, mode) for place, mode in enumerate(how)]
    return torch.stack(channels, dim=1).nan_to_num(0.0)


def scores(rewards: Float[Tensor, "batch K"], weights: Float[Tensor, "batch K"]) -> Float[Tensor, " batch"]:
    """R = sum over k of w_k r_k, each response with its own weights, in float64.

    Weights are scaled to a sum of 1 in float64 first: responses with equal rewards then have equal scores, which
    float32 weights, off by 1e-7, would not give them.
    """
    exact = weights.double()
    return (exact / exact.sum(dim=-1, keepdim=True) * rewards.double()).sum(dim=-1)


def group_advantages(
    scores: Float[Tensor, " batch"], valid: Bool[Tensor, " batch"], group_size: int, scale: bool = True
) -> Float[Tensor, " batch"]:
    """(R - mean) / (std + 1e-4) in each group of `group_size` neighbours, over valid responses; float32.

    The deviation is the sample's (n - 1), as in TRL; without `scale` nothing is divided. Exactly 0 for responses that
    are not valid and in groups without variance. Differentiable in the scores. GRPO: arXiv 2402.03300, section 4.1.2.
    """
    counted = valid.view(-1, group_size)
    values = torch.where(counted, scores.view(-1, group_size), 0.0)
    number = counted.sum(dim=1, keepdim=True)
    centred = torch.where(counted, values - values.sum(dim=1, keepdim=True) / number.clamp(min=1), 0.0)
    spread = centred.amax(dim=1, keepdim=True) - centred.amin(dim=1, keepdim=True)
    flat = spread <= TIE * values.abs().amax(dim=1, keepdim=True).clamp(min=1.0)
    variance = centred.square().sum(dim=1, keepdim=True) / (number - 1).clamp(min=1)
    deviation = torch.where(flat, 1.0, variance).sqrt()  # a root has no derivative at 0
    relative = centred / (deviation + EPSILON) if scale else centred
    return torch.where(flat, 0.0, relative).flatten().float()

"""The ablation "+Pairwise" of MAESTRO: beside REINFORCE, a logistic term over pairs of a group's responses.

The paper gives no formula. Ours: for responses i, j of a group with A_i > A_j, log(1 + exp(-(log pi(a_i | h_i) -
log pi(a_j | h_j)))), averaged over pairs: the better response's action shall be the likelier one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from encore.scalarization.learned import Learned


class Scalarizer(Learned):
    name = "conductor_pairwise"
    label = "MAESTRO, pairwise"

    def loss(self, seen: Mapping[str, Tensor]) -> Tensor:
        probabilities = self.conductor.probabilities(seen["hidden"])
        taken = probabilities.gather(1, seen["actions"][:, None])[:, 0].log()
        term = pairwise(taken, seen["advantages"], seen["groups"])
        return super().loss(seen) + self.settings.pairwise_coefficient * term


def pairwise(
    logprobs: Float[Tensor, " batch"], advantages: Float[Tensor, " batch"], groups: Int[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """The mean of the logistic term over the pairs of a group whose advantages differ; 0 if there is no such pair."""
    better = (groups[:, None] == groups[None, :]) & (advantages[:, None] > advantages[None, :])
    first, second = better.nonzero(as_tuple=True)
    if not len(first):
        return torch.zeros((), device=logprobs.device)
    return nn.functional.softplus(logprobs[second] - logprobs[first]).mean()

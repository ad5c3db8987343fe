"""The ablation "Joint" of MAESTRO: no actions and no buffer; the policy's loss trains the Conductor too.

R = w(h) . r with w(h) = pi(. | h) differentiable, and one optimizer for both. What this can learn is little, and it is
worth knowing why: with one update for each set of rollouts the policy's ratio is 1, so the loss depends on the weights
only through the sum over responses of (length x advantage), and the advantages of a group sum to 0. With a mean over
each response first (`loss_normalization: response`) the gradient is 0, and a training refuses the two together; with a
mean over tokens it favours the rewards that run high on long responses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from encore.scalarization.context import Batch, Weighing
from encore.scalarization.learned import Learned


class Scalarizer(Learned):
    name = "conductor_joint"
    label = "MAESTRO, joint"

    def weigh(self, batch: Batch) -> Weighing:
        weights = self.conductor.probabilities(self._hidden(batch))
        return Weighing(weights, weights.detach())

    def observe(self, batch: Batch, weighing: Weighing, advantages: Tensor) -> None:
        self._read(weighing)

    def step(self) -> dict[str, float]:
        self.steps += 1
        self.conductor.keep_bounds()
        parameters = [parameter.grad for parameter in self.conductor.parameters() if parameter.grad is not None]
        curves = self._curves()
        if parameters:
            curves["gradient_norm"] = float(torch.cat([gradient.flatten() for gradient in parameters]).norm())
        self.conductor.zero_grad()  # the trainer empties the policy's gradients alone
        return curves

    def trained_with_policy(self) -> list[nn.Parameter]:
        return list(self.conductor.parameters())

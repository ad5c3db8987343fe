"""Weights drawn for every response from the flat Dirichlet distribution: MAESTRO's baseline "Rand".

The paper says "a random weight vector per response"; the distribution is our choice, as none is given.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from encore.scalarization.context import Batch, Context, Weighing
from encore.scalarization.fixed import Fixed, equal


class Scalarizer(Fixed):
    name = "random"
    label = "Random weights"

    def start(self, context: Context) -> None:
        super().start(context)
        self.generator = torch.Generator().manual_seed(context.seed)

    def vector(self, context: Context) -> Tensor:
        return equal(len(context.rewards))  # the mean

    def weigh(self, batch: Batch) -> Weighing:
        # Exponential numbers over their sum are flat Dirichlet.
        drawn = torch.rand(batch.rewards.shape, generator=self.generator, dtype=torch.float64)
        exponential = -torch.log1p(-drawn)
        weights = (exponential / exponential.sum(dim=1, keepdim=True)).float()
        return Weighing(weights, weights)

    def state(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.generator.set_state(state["generator"])

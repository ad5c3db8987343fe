"""Given weights, the same for every response: the parameter `weights`, by reward; what is not named counts for nothing.

Only ratios matter: weights are scaled to a sum of 1. A search over a grid runs this once for each of its points.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from encore.scalarization.context import Context
from encore.scalarization.fixed import Fixed


class Scalarizer(Fixed):
    name = "static"
    label = "Static weights"
    parameters = ("weights",)

    def skip(self, context: Context) -> str | None:
        weights = context.parameters.get("weights")
        if not isinstance(weights, Mapping) or not weights:
            return "needs the parameter 'weights', a number for each reward by name"
        unknown = sorted(set(weights) - set(context.rewards))
        if unknown:
            return f"has a weight for {unknown[0]!r}, which is no reward: choose from {', '.join(context.rewards)}"
        for name, value in weights.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                return f"has weight {value!r} for {name}: weights are numbers of at least 0"
        return None if sum(weights.values()) > 0 else "has weights that are all 0: at least one must be positive"

    def vector(self, context: Context) -> Tensor:
        given = context.parameters["weights"]
        weights = torch.tensor([float(given.get(name, 0.0)) for name in context.rewards], dtype=torch.float64)
        return (weights / weights.sum()).float()

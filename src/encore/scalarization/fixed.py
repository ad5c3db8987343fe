"""What scalarizers have in common that learn nothing: one vector of weights, or one for each response."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from encore.errors import UserError
from encore.scalarization.context import Batch, Context, Weighing


class Fixed(ABC):
    """A scalarizer of constant weights, which `vector` gives; it takes no parameters unless `parameters` names some."""

    needs_hidden = False
    parameters: tuple[str, ...] = ()
    name = label = ""

    def skip(self, context: Context) -> str | None:
        return None

    def start(self, context: Context) -> None:
        unknown = sorted(set(context.parameters) - set(self.parameters))
        if unknown:
            known = f"choose from {', '.join(self.parameters)}" if self.parameters else "it has none"
            raise UserError(f"scalarizer {self.name} has no parameter {unknown[0]!r}: {known}")
        reason = self.skip(context)
        if reason is not None:
            raise UserError(f"scalarizer {self.name} {reason}")
        self.context = context
        self.weights = self.vector(context)

    @abstractmethod
    def vector(self, context: Context) -> Tensor:
        """The weights of the rewards, [K]."""

    def weigh(self, batch: Batch) -> Weighing:
        weights = self.weights.expand(len(batch.rewards), -1)
        return Weighing(weights, weights)

    def observe(self, batch: Batch, weighing: Weighing, advantages: Tensor) -> None:  # noqa: B027
        """Nothing is learned."""

    def step(self) -> dict[str, float]:
        return {}

    def trained_with_policy(self) -> list[nn.Parameter]:
        return []

    @property
    def learning_rate(self) -> float:
        return 0.0

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """There is no state."""


def equal(number: int) -> Tensor:
    """1/K for each of K rewards."""
    return torch.full((number,), 1 / number)

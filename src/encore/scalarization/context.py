"""What a scalarizer is made for, and what it gets and gives at every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Context:
    """A training: its rewards by name, the width of hidden states, and the choices left open.

    `parameters` are the scalarizer's own, from params.yaml; `device` is where hidden states come from.
    """

    rewards: tuple[str, ...]
    hidden_size: int
    seed: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Batch:
    """Responses in complete groups: `group_size` neighbours answer the same prompt.

    Attributes:
        rewards: as the reward functions gave them, before normalisation; on the CPU.
        valid: false where a reward is missing and the response was dropped; on the CPU.
        kinds: of each response's prompt, for instance its benchmark.
        group_size: G.
        hidden: of each response, float32, detached, on the model's device; None if the scalarizer asks for none.
    """

    rewards: Float[Tensor, "batch K"]
    valid: Bool[Tensor, " batch"]
    kinds: Sequence[str]
    group_size: int
    hidden: Float[Tensor, "batch hidden"] | None = None


@dataclass(frozen=True)
class Weighing:
    """How much each reward of each response counts.

    Attributes:
        weights: that training uses; not negative, each row sums to 1.
        reading: to look at: without the noise of drawn actions, where there is one; detached.
        actions: the drawn rewards, where there are any.
    """

    weights: Float[Tensor, "batch K"]
    reading: Float[Tensor, "batch K"]
    actions: Int[Tensor, " batch"] | None = None

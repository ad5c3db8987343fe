"""The Conductor's settings, as a section of params.yaml; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from encore.errors import UserError


@dataclass(frozen=True)
class ConductorSettings:
    """How the Conductor acts and learns. Defaults are Table 8 of arXiv 2601.07208 where it has a row.

    `alpha` says how a drawn action becomes weights (not in the paper): 1 the drawn reward alone, 0 the probabilities.
    One step of AdamW every `update_every` steps of the policy, on all responses since the last one. `weight_decay`
    (not in the paper) falls on all parameters. `gradient_through`: see `Conductor.loss`. `min_temperature` (not in the
    paper) keeps the learned temperature from 0. `pairwise_coefficient` is the weight of the pairwise variant's term
    (not in the paper).
    """

    alpha: float = 1.0
    min_probability: float = 1e-4
    min_temperature: float = 0.05
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    update_every: int = 3
    entropy_coefficient: float = 1e-3
    gradient_through: Literal["bounded", "unbounded"] = "bounded"
    pairwise_coefficient: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise UserError(f"scalarizer.alpha is {self.alpha}: 0 is soft weights, 1 the drawn reward alone")
        if self.update_every < 1:
            raise UserError(f"scalarizer.update_every is {self.update_every}: it is at least 1 step of the policy")
        if self.learning_rate <= 0:
            raise UserError(f"scalarizer.learning_rate is {self.learning_rate}: it must be positive")
        for name in ("weight_decay", "entropy_coefficient", "pairwise_coefficient"):
            if getattr(self, name) < 0:
                raise UserError(f"scalarizer.{name} is {getattr(self, name)}: it must be at least 0")

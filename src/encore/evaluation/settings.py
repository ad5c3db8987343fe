"""How to evaluate, as a section of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from encore.errors import UserError


@dataclass(frozen=True)
class EvaluationSettings:
    """The section `evaluation` of params.yaml. `temperature` 0 is greedy."""

    temperature: float = 0.0
    max_action_tokens: int = 24
    batch_size: int = 256
    max_error_share: float = 0.05  # of episodes whose environment failed; more fails the stage

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UserError(f"evaluation.temperature is {self.temperature}: 0 is greedy, more samples")
        if self.max_action_tokens < 1 or self.batch_size < 1:
            raise UserError("evaluation.max_action_tokens and evaluation.batch_size must be at least 1")

"""How to train, as sections of params.yaml; apart from the trainers, so that reading settings imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from encore.errors import UserError


@dataclass(frozen=True)
class SFTSettings:
    """How to fine-tune. `effective_batch` counts examples an optimizer step.

    `context_weight` is the loss weight of tokens that are no response (0 in fine-tuning; pretraining uses more).
    `packing` lays the examples of a device step behind one another instead of padding them: the same result, sooner;
    `max_padding_share` bounds the padding without it. `device_batch` counts examples a device step at most.
    `lora_rank` 0 trains all weights. `max_steps` overrides `epochs` where it is positive.
    """

    epochs: float = 3.0
    max_steps: int = -1
    learning_rate: float = 3e-4
    schedule: str = "cosine"
    warmup_share: float = 0.05
    effective_batch: int = 16
    device_batch: int = 16
    packing: bool = True
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_rank: int = 0
    lora_alpha: int = 32
    context_weight: float = 0.0
    gradient_checkpointing: bool = False
    checkpoint_every: int = 100
    max_padding_share: float = 0.10

    def __post_init__(self) -> None:
        if self.epochs <= 0 and self.max_steps <= 0:
            raise UserError(f"sft.epochs is {self.epochs}: it must be positive")
        if self.learning_rate <= 0:
            raise UserError(f"sft.learning_rate is {self.learning_rate}: it must be positive")
        if self.effective_batch < 1 or self.device_batch < 1:
            raise UserError("sft.effective_batch and sft.device_batch must be at least 1")
        if not 0 <= self.context_weight <= 1:
            raise UserError(f"sft.context_weight is {self.context_weight}: it is a weight between 0 and 1")

    def micro_batch(self, processes: int) -> int:
        """Examples of one device step of one process."""
        return max(1, min(self.device_batch, self.effective_batch // processes))

    def accumulation(self, processes: int) -> int:
        """Micro-batches a process adds up for one optimizer step; raises UserError if the numbers do not divide."""
        micro = self.micro_batch(processes) * processes
        if self.effective_batch % micro:
            raise UserError(
                f"sft.effective_batch {self.effective_batch} is no multiple of device_batch × processes = {micro}: "
                "change one of them"
            )
        return self.effective_batch // micro

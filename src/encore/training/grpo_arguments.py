"""What every GRPO training here tells TRL in the same way, whatever its episodes are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedModel

from encore.training.whole import trains_on_gpu


class Shared(Protocol):
    """The settings that trainings on episodes and on several rewards have in common."""

    @property
    def group_size(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def schedule(self) -> str: ...
    @property
    def warmup_share(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...
    @property
    def gradient_checkpointing(self) -> bool: ...
    @property
    def checkpoint_every(self) -> int: ...


def grpo_arguments(
    settings: Shared, model: PreTrainedModel, seed: int, checkpoints: Path, updates: int = 1
) -> dict[str, Any]:
    """Arguments of `trl.GRPOConfig` for the optimizer, the device, checkpoints and logs.

    `updates` are the optimizer's steps in what `checkpoint_every` counts. What is generated, and how losses are
    averaged, is left to the trainer.
    """
    on_gpu = trains_on_gpu(model)
    return {
        "output_dir": str(checkpoints),
        "num_generations": settings.group_size,
        "temperature": settings.temperature,
        "beta": 0.0,  # TRL would load its reference from a path; ours is a copy
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": settings.warmup_share,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "seed": seed,
        "shuffle_dataset": False,  # rows already stand in the order in which they are taken
        "remove_unused_columns": False,
        "dataloader_pin_memory": on_gpu,
        "save_strategy": "steps",
        "save_steps": settings.checkpoint_every * updates,
        "save_total_limit": 2,
        "logging_steps": updates,
        "report_to": [],
        "disable_tqdm": True,
    }

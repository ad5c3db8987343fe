"""Giving a model back its own forward after a trainer has replaced it."""

from __future__ import annotations

from torch import nn


def restore_forward(model: nn.Module) -> None:
    """Removes what trainers put in front of a model's forward: TRL's fused head, accelerate's casts.

    They hold on to the model that they were put on. A copy of it would compute with the weights of the original.
    """
    for module in model.modules():
        vars(module).pop("forward", None)
        vars(module).pop("_original_forward", None)

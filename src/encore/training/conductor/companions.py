"""What learns beside the policy: called at the policy's updates and step ends, saved in its checkpoints, taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from encore.errors import UserError

if TYPE_CHECKING:
    from encore.training.conductor.trainer import MultiRewardTrainer

STATE = "scalarizer.pt"


class AfterStep(TrainerCallback):
    """Calls the trainer back at the end of a step, and saves before others hear that a checkpoint is complete."""

    def __init__(self, trainer: MultiRewardTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """What learns from the policy's loss and is not in its optimizer makes its update with it."""
        trainer = self.trainer
        if trainer.joint is not None:
            assert trainer.optimizer is not None
            trainer.joint.step(trainer.accelerator, trainer.optimizer.param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.after_step()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        save(self.trainer, Path(args.output_dir) / f"checkpoint-{state.global_step}")


def save(trainer: MultiRewardTrainer, folder: Path) -> None:
    """Adds to a checkpoint what TRL does not know of; the first process writes what all hold."""
    if trainer.accelerator.is_main_process:
        state = {"scalarizer": trainer.scalarizer.state(), "history": trainer.history.lines}
        if trainer.joint is not None:
            state["joint"] = trainer.joint.optimizer.state_dict()
        torch.save(state, folder / STATE)
        if trainer.reference is not None:
            trainer.reference.save(folder)
    trainer.accelerator.wait_for_everyone()  # it is committed next: then each process has written its random state


def restore(trainer: MultiRewardTrainer, folder: Path) -> None:
    """Takes back what `save` added. Raises UserError for a checkpoint without it."""
    if not (folder / STATE).exists():
        raise UserError(f"{folder} has no {STATE}, so it is no checkpoint of this kind of training: delete it")
    state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    trainer.scalarizer.restore(state["scalarizer"])
    trainer.history.lines = state["history"]
    if trainer.joint is not None:
        if "joint" not in state:
            raise UserError(f"{folder} is of a training in one process: go on with launch.processes 1, or delete it")
        trainer.joint.optimizer.load_state_dict(state["joint"])
    if trainer.reference is not None:
        trainer.reference.restore(folder)

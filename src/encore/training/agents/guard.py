"""Curves of an agent's training, and the guard that stops it when the policy has collapsed."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from encore.errors import UserError
from encore.training.agents.settings import GuardSettings
from encore.training.agents.trainer import Progress

CURVES = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "kl": "kl",
    "clip_ratio/region_mean": "clipped_share",
}


class CollapseError(UserError):
    """The policy has collapsed, as `GuardSettings` draw the line."""


class Guard:
    """Counts iterations in which a bound was broken."""

    def __init__(self, settings: GuardSettings) -> None:
        self.settings = settings
        self.broken: dict[str, int] = {}

    def check(self, iteration: int, values: dict[str, float]) -> None:
        """Takes an iteration's `rollout/invalid_share` and `rollout/entropy`.

        Raises CollapseError if a bound has been broken in `patience` iterations one after another.
        """
        bounds = self.settings
        invalid, entropy = values.get("rollout/invalid_share"), values.get("rollout/entropy")
        signs = {
            f"rollout/invalid_share above {bounds.max_invalid_share:g}": invalid is not None
            and invalid > bounds.max_invalid_share,
            f"entropy below {bounds.min_entropy:g}": entropy is not None and entropy < bounds.min_entropy,
            f"entropy above {bounds.max_entropy:g}": entropy is not None and entropy > bounds.max_entropy,
        }
        for sign, is_broken in signs.items():
            self.broken[sign] = self.broken.get(sign, 0) + 1 if is_broken else 0
            if self.broken[sign] >= bounds.patience:
                shown = ", ".join(
                    f"{name} {value:.3g}"
                    for name, value in (("invalid_share", invalid), ("entropy", entropy))
                    if value is not None
                )
                raise CollapseError(
                    f"the policy collapsed: {sign} in {bounds.patience} iterations up to {iteration} ({shown}): lower "
                    "rl.learning_rate, raise rl.kl, start from a stronger policy, or move the bounds in rl.guard"
                )


class Recorder(TrainerCallback):
    """Writes each iteration's curves and commits each checkpoint, and asks the guard."""

    def __init__(self, progress: Progress, updates: int, guard: Guard) -> None:
        self.progress, self.updates, self.guard = progress, updates, guard
        self.last: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        logs = logs or {}
        values = {
            f"rl/{CURVES[key]}": float(value) for key, value in logs.items() if key in CURVES and value is not None
        }
        values |= {key: float(value) for key, value in logs.items() if key.startswith("rollout/") and value is not None}
        if not values:
            return
        iteration = state.global_step // self.updates
        if state.is_world_process_zero:
            self.progress.curve(values, step=iteration)
        self.last = values
        self.guard.check(iteration, values)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self.progress.commit(f"checkpoint-{state.global_step}")

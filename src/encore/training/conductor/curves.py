"""Curves of a training on several rewards: what each reward weighed, for each kind of prompt, and what it gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import TrainerCallback

from encore.training.agents.trainer import Progress

CURVES = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
    "kl": "kl",
    "entropy": "entropy",
}
OWN = ("weight/", "reward/", "rollout/", "conductor/")


class WeightHistory:
    """The mean weight of each reward by kind of prompt, step by step.

    Weights stay where they are until a step has ended: a GPU is waited for once a step.
    """

    def __init__(self, rewards: Sequence[str]) -> None:
        self.rewards = tuple(rewards)
        self.lines: list[dict[str, Any]] = []  # step, kind, responses, weights: [K]
        self._seen: list[tuple[Sequence[str], Tensor]] = []

    def add(self, kinds: Sequence[str], weights: Float[Tensor, "batch K"]) -> None:
        """Takes the weights of responses to prompts of `kinds`."""
        self._seen.append((kinds, weights))

    def finish(self, step: int) -> dict[str, float]:
        """Ends a step; returns `weight/<reward>` and, where there are several kinds, `weight/<kind>/<reward>`."""
        if not self._seen:
            return {}
        kinds = [kind for of_batch, _ in self._seen for kind in of_batch]
        weights = torch.cat([weights for _, weights in self._seen]).double().cpu()
        self._seen = []
        curves = {f"weight/{name}": float(value) for name, value in zip(self.rewards, weights.mean(dim=0), strict=True)}
        present = sorted(set(kinds))
        for kind in present:
            places = [place for place, of_response in enumerate(kinds) if of_response == kind]
            mean = weights[places].mean(dim=0).tolist()
            self.lines.append({"step": step, "kind": kind, "responses": len(places), "weights": mean})
            if len(present) > 1:
                curves |= {f"weight/{kind}/{name}": value for name, value in zip(self.rewards, mean, strict=True)}
        return curves

    def table(self, share: float = 0.25) -> list[dict[str, Any]]:
        """A row for each kind, to show as a heat map: `kind`, `responses`, and the mean weight of each reward by name.

        Means are over the responses of the last `share` of the steps, at least one step.
        """
        steps = sorted({line["step"] for line in self.lines})
        last = set(steps[-max(1, round(len(steps) * share)) :]) if steps else set()
        rows = []
        for kind in sorted({line["kind"] for line in self.lines}):
            lines = [line for line in self.lines if line["kind"] == kind and line["step"] in last]
            number = sum(line["responses"] for line in lines)
            if not number:
                continue
            means = torch.tensor([line["weights"] for line in lines], dtype=torch.float64)
            counts = torch.tensor([line["responses"] for line in lines], dtype=torch.float64)
            row = (means * counts[:, None]).sum(dim=0) / number
            rows.append({"kind": kind, "responses": number, **dict(zip(self.rewards, row.tolist(), strict=True))})
        return rows


def reward_curves(
    rewards: Sequence[str], batches: Sequence[Float[Tensor, "batch K"]], group_size: int
) -> dict[str, float]:
    """Of a step's raw rewards: means, the share of groups over which each is constant, the share of dropped responses.

    Means are over responses that were not dropped; they have no entry if all were.
    """
    values = torch.cat(list(batches))
    kept = torch.isfinite(values).all(dim=1)
    curves = {"rollout/dropped_share": float((~kept).double().mean())}
    groups, counted = values.view(-1, group_size, len(rewards)), kept.view(-1, group_size, 1)
    greatest = torch.where(counted, groups, -torch.inf).amax(dim=1)
    least = torch.where(counted, groups, torch.inf).amin(dim=1)
    for place, name in enumerate(rewards):
        if bool(kept.any()):
            curves[f"reward/{name}"] = float(values[kept, place].double().mean())
        curves[f"reward/{name}/constant_groups"] = float((greatest <= least)[:, place].double().mean())
    return curves


class Recorder(TrainerCallback):
    """Writes each step's curves and commits each checkpoint."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.last: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        given = {key: float(value) for key, value in (logs or {}).items() if isinstance(value, int | float)}
        values = {f"rl/{CURVES[key]}": value for key, value in given.items() if key in CURVES}
        values |= {key: value for key, value in given.items() if key.startswith(OWN)}
        if values and "train_runtime" not in given:
            self.last = values
            self.progress.curve(values, step=state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress.commit(f"checkpoint-{state.global_step}")

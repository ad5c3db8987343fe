"""What the Conductor's variants have in common: a buffer, an update every few steps of the policy, a state to resume.

Source: arXiv 2601.07208, sections 3.1 and 3.2, appendix E. The meta-reward of an action is the advantage that its
response had under it. The buffer is cleared after an update (the paper does not say), so that every triplet (hidden
state, action, advantage) is used once, under the Conductor that drew the action.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from encore import configuration
from encore.errors import UserError
from encore.scalarization.conductor import Conductor
from encore.scalarization.context import Batch, Context, Weighing
from encore.scalarization.settings import ConductorSettings

FIELDS = ("hidden", "actions", "advantages", "groups")


class Learned:
    """A scalarizer around a `Conductor`."""

    needs_hidden = True
    name = label = ""

    def skip(self, context: Context) -> str | None:
        return None if len(context.rewards) > 1 else "weighs at least two rewards, and there is one"

    def start(self, context: Context) -> None:
        reason = self.skip(context)
        if reason is not None:
            raise UserError(f"scalarizer {self.name} {reason}")
        self.settings = configuration.build(ConductorSettings, context.parameters, "scalarizer")
        settings = self.settings
        self.conductor = Conductor(
            context.hidden_size, len(context.rewards), settings.min_probability, settings.min_temperature
        ).to(context.device)
        self.optimizer = torch.optim.AdamW(
            self.conductor.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.generator = torch.Generator().manual_seed(context.seed)
        self.buffer: list[dict[str, Tensor]] = []
        self.steps = self.groups = 0
        self.entropy: list[Tensor] = []  # of the responses since the last step of the policy

    def weigh(self, batch: Batch) -> Weighing:
        hidden = self._hidden(batch)
        with torch.no_grad():
            reading = self.conductor.probabilities(hidden)
            actions = self.conductor.sample(hidden, self.generator)
            weights = self.conductor.weights(hidden, actions, self.settings.alpha)
        return Weighing(weights, reading, actions)

    def observe(self, batch: Batch, weighing: Weighing, advantages: Tensor) -> None:
        """Takes the valid responses into the buffer."""
        self._read(weighing)
        assert weighing.actions is not None
        places = batch.valid.nonzero()[:, 0]
        groups = self.groups + places // batch.group_size
        self.groups += len(batch.valid) // batch.group_size
        device = weighing.weights.device
        kept = places.to(device)
        self.buffer.append(
            {
                "hidden": self._hidden(batch)[kept],
                "actions": weighing.actions[kept],
                "advantages": advantages.detach()[kept],
                "groups": groups.to(device),
            }
        )

    def step(self) -> dict[str, float]:
        """Counts a step of the policy and learns every `update_every`th time; curves of entropy, temperature, loss."""
        self.steps += 1
        curves = self._curves()
        if self.steps % self.settings.update_every == 0:
            seen = {name: torch.cat([part[name] for part in self.buffer]) for name in FIELDS} if self.buffer else {}
            self.buffer, self.groups = [], 0
            if seen and len(seen["actions"]):
                curves["loss"] = self._update(seen)
        return curves

    def loss(self, seen: Mapping[str, Tensor]) -> Tensor:
        """What one update minimises, on the buffer's responses; `groups` numbers them by group."""
        return self.conductor.loss(
            seen["hidden"],
            seen["actions"],
            seen["advantages"],
            self.settings.entropy_coefficient,
            self.settings.gradient_through,
        )

    def trained_with_policy(self) -> list[nn.Parameter]:
        return []

    @property
    def learning_rate(self) -> float:
        return self.settings.learning_rate

    def state(self) -> dict[str, Any]:
        return {
            "conductor": self.conductor.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "buffer": self.buffer,
            "steps": self.steps,
            "groups": self.groups,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.conductor.load_state_dict(state["conductor"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        device = self.conductor.bias.device
        self.buffer = [{name: value.to(device) for name, value in part.items()} for part in state["buffer"]]
        self.steps, self.groups = state["steps"], state["groups"]

    def _update(self, seen: Mapping[str, Tensor]) -> float:
        self.optimizer.zero_grad()
        loss = self.loss(seen)
        if not bool(torch.isfinite(loss)):
            raise UserError(
                f"the Conductor's loss is {float(loss)} after {self.steps} steps: lower scalarizer.learning_rate"
            )
        loss.backward()
        self.optimizer.step()
        self.conductor.keep_bounds()
        return float(loss.detach())

    def _hidden(self, batch: Batch) -> Tensor:
        if batch.hidden is None:
            raise AssertionError(f"scalarizer {self.name} needs hidden states, and the batch has none")
        return batch.hidden

    def _read(self, weighing: Weighing) -> None:
        reading = weighing.reading
        self.entropy.append(-(reading * reading.log()).sum(dim=1).mean())

    def _curves(self) -> dict[str, float]:
        curves = {"temperature": float(self.conductor.temperature.detach())}
        if self.entropy:
            curves["entropy"] = float(torch.stack(self.entropy).mean())
        self.entropy = []
        return curves

"""Scalarizers by name: each is one class `Scalarizer` in one file of the folder `scalarizers`, and the file's name is
the scalarizer's.

To add a baseline, add a file. Nothing is registered by hand, and tests/encore/scalarization/test_scalarizers.py runs
every scalarizer it finds. One that lacks something says so in `skip`, and the comparison prints the reason in place of
its number.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from encore.errors import UserError
from encore.scalarization import scalarizers
from encore.scalarization.context import Batch, Context, Weighing


@runtime_checkable
class Scalarizer(Protocol):
    """How several rewards become one, for one training: an instance is started once and keeps its state."""

    name: str
    """As in params.yaml, on the command line, and of the file."""
    label: str
    """As in tables and plots."""
    needs_hidden: bool
    """Whether `weigh` looks at hidden states."""

    def skip(self, context: Context) -> str | None:
        """Why this scalarizer cannot weigh these rewards; None if it can."""

    def start(self, context: Context) -> None:
        """Makes its state. Raises UserError for parameters it does not have, or out of their range."""

    def weigh(self, batch: Batch) -> Weighing:
        """Weights of each response's rewards."""

    def observe(self, batch: Batch, weighing: Weighing, advantages: Tensor) -> None:
        """Takes what the weights led to: the responses' advantages, [batch]."""

    def step(self) -> dict[str, float]:
        """Called after each step of the policy; returns curves, by name."""

    def trained_with_policy(self) -> list[nn.Parameter]:
        """Parameters that the policy's own optimizer and loss are to train."""

    @property
    def learning_rate(self) -> float:
        """Of those parameters."""

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs, as tensors and plain values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state` gave."""


def names() -> list[str]:
    """Every scalarizer there is, without loading any."""
    return sorted(module.name for module in pkgutil.iter_modules(scalarizers.__path__))


def scalarizer(name: str) -> Scalarizer:
    """A new scalarizer called `name`, not started.

    Raises:
        UserError: there is none; the message names those there are.
    """
    if name not in names():
        raise UserError(f"unknown scalarizer {name!r}: choose from {', '.join(names())}")
    found: Scalarizer = importlib.import_module(f"{scalarizers.__name__}.{name}").Scalarizer()
    return found

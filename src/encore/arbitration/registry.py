"""Arms by name: each is one class `Arm` in one file of the folder `arms`, and the file's name is the arm's.

To add a baseline, add a file. Nothing is registered by hand, and tests/encore/arbitration/test_arms.py runs every arm
it finds. An arm that lacks something says so in `skip`, and the comparison prints the reason in place of its number.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol, runtime_checkable

from encore.arbitration import arms
from encore.arbitration.context import Context
from encore.arbitration.splitting import Split
from encore.errors import UserError


@runtime_checkable
class Arm(Protocol):
    """Which examples are imitated and which are explored, of one method."""

    name: str
    """As in params.yaml, on the command line, and of the file."""
    label: str
    """As in tables and plots."""

    def skip(self, ctx: Context) -> str | None:
        """Why this arm cannot split these examples; None if it can. Loads nothing."""

    def split(self, ctx: Context) -> Split:
        """The two halves; the same for the same context and seed."""


def arm_names() -> list[str]:
    """Every arm there is, without loading any."""
    return sorted(module.name for module in pkgutil.iter_modules(arms.__path__))


def arm(name: str) -> Arm:
    """The arm called `name`.

    Raises:
        UserError: there is none; the message names those there are.
    """
    if name not in arm_names():
        raise UserError(f"unknown arm {name!r}: choose from {', '.join(arm_names())}")
    found: Arm = importlib.import_module(f"{arms.__name__}.{name}").Arm()
    return found

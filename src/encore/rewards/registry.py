"""Rewards by name: each is one class `Reward` in one file of the folder `functions`; the file's name is the reward's.

To add a reward, add a file. Nothing is registered by hand, and tests/encore/rewards/test_registry.py runs every reward
it finds. The file's dataclass `Settings` is what params.yaml may say about it. A reward that lacks something says so in
`skip`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from encore import configuration
from encore.errors import UserError
from encore.rewards import functions

if TYPE_CHECKING:
    from encore.rewards.context import Context


@runtime_checkable
class Reward(Protocol):
    """What a file in `functions` has to hold, as a class called `Reward` made from `Settings` and a `Context`."""

    name: str
    """As in params.yaml and of the file."""
    label: str
    """As in tables and plots."""
    __name__: str
    """The name, where TRL looks for it."""

    def skip(self) -> str | None:
        """Why this reward cannot score here; None if it can. Loads nothing."""

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        """One value a response, in order; None where a response cannot be scored."""


def names() -> list[str]:
    """Every reward there is, without loading any."""
    return sorted(module.name for module in pkgutil.iter_modules(functions.__path__))


def reward(name: str, parameters: Mapping[str, Any] | None = None, context: Context | None = None) -> Reward:
    """The reward called `name`, with `parameters` over its defaults, for a training that has what `context` holds.

    Raises:
        UserError: there is none (the message names those there are); a parameter that it does not have, of another
            type or out of range; it lacks something, as `skip` says.
    """
    from encore.rewards.context import Context

    if name not in names():
        raise UserError(f"unknown reward {name!r}: choose from {', '.join(names())}")
    module = importlib.import_module(f"{functions.__name__}.{name}")
    settings = configuration.build(module.Settings, parameters or {}, f"rewards.{name}")
    made: Reward = module.Reward(settings, context or Context())
    reason = made.skip()
    if reason is not None:
        raise UserError(f"reward {name} {reason}")
    return made

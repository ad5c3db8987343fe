"""The one interface through which every policy meets every environment, and the registry of environments.

An environment is text in, text out. `TextEnv` is structural: an environment package implements it without importing
this module, so that `alfworld_env` and `webshop_env` stay usable alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from encore.errors import UserError


@runtime_checkable
class StepResult(Protocol):
    """What one step of an environment returns."""

    @property
    def observation(self) -> str: ...
    @property
    def reward(self) -> float: ...
    @property
    def done(self) -> bool: ...
    @property
    def won(self) -> bool: ...


@runtime_checkable
class TextEnv(Protocol):
    """One task of a text environment.

    `reset()` returns the first observation, which contains the task. `step(action)` never raises for any string: an
    action that the environment does not know is an ordinary step. `admissible` is sorted. An environment may also have
    `anchor`, a text that is the same for two moments of a task if and only if its hidden state is; without one, its
    last observation stands for the state where steps from the same state are compared.
    """

    def reset(self) -> str: ...
    def step(self, action: str) -> StepResult: ...
    @property
    def admissible(self) -> list[str]: ...


Loader = Callable[[dict[str, Any]], "Tasks"]
_LOADERS: dict[str, Loader] = {}


class Tasks(Protocol):
    """The tasks of one environment under one configuration: what stages need and nothing else."""

    def demonstrations(self, number: int, seed: int) -> Sequence[Any]:
        """`number` training tasks, in a seeded order that does not depend on `number`."""

    def panel(self, name: str, number: int) -> Sequence[Any]:
        """At most `number` evaluation tasks of the panel `name`; the same tasks at every call."""

    def environment(self, task: Any) -> TextEnv: ...
    def expert(self, task: Any, seed: int) -> list[str]:
        """Actions that solve the task. Raises ValueError if the expert does not solve it."""

    def describe(self, task: Any) -> dict[str, str]:
        """`id`, `task_type` and `goal` of a task."""


def register(name: str) -> Callable[[Loader], Loader]:
    """Decorator: makes an environment known by name. The loader takes the environment's section of params.yaml."""

    def add(loader: Loader) -> Loader:
        _LOADERS[name] = loader
        return loader

    return add


def load(name: str, settings: dict[str, Any]) -> Tasks:
    """The tasks of the environment `name`, as its section of params.yaml sets them.

    Raises UserError for a name that is not registered.
    """
    from encore import tasks as _  # noqa: F401  (registers the environments that ship with Encore)

    if name not in _LOADERS:
        raise UserError(f"unknown environment '{name}': choose from {', '.join(sorted(_LOADERS))}")
    return _LOADERS[name](settings)

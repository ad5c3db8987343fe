"""Methods by name: each is one class `Method` in one file of the folder `methods`, and the file's name is the method's.

To add a baseline, add a file. Nothing is registered by hand, and tests/encore/selection/test_methods.py runs every
method it finds. A method that lacks something says so in `skip`, and the comparison prints the reason in place of its
number.
"""

from __future__ import annotations

import importlib
import pkgutil
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from encore.errors import UserError
from encore.selection import methods
from encore.selection.context import SelectionContext
from encore.selection.selected import Selection, largest_remainder


@runtime_checkable
class Plugin(Protocol):
    """What a file in `methods` has to hold, as a class called `Method`."""

    name: str
    """As in params.yaml, on the command line, and of the file."""
    label: str
    """As in tables and plots."""

    def skip(self, context: SelectionContext) -> str | None:
        """Why this method cannot choose here; None if it can. Reads no features."""

    def select(self, context: SelectionContext) -> Selection:
        """The examples to train on; the same for the same context and seed."""


@dataclass(frozen=True)
class Method:
    """A plug-in with a clock, for one target or several."""

    plugin: Plugin

    @property
    def name(self) -> str:
        return self.plugin.name

    @property
    def label(self) -> str:
        return self.plugin.label

    def skip(self, context: SelectionContext) -> str | None:
        """Why this method cannot choose here; None if it can. Reads no features."""
        return self.plugin.skip(context)

    def select(self, context: SelectionContext) -> Selection:
        """The examples to train on, at most `context.budget` of them.

        Where the target examples are of several targets, the parameter `multi_target`, which every method has, says
        how: "pooled" (the default): all target examples are one set; "union": each target gets an equal share of the
        budget, in order, and chooses outside what earlier ones took. The reasons then name the target.

        Raises:
            UserError: the method lacks something, as `skip` says; a parameter it does not have, or out of its range;
                features that no training gives.
        """
        reason = self.skip(context)
        if reason is not None:
            raise UserError(f"selection method {self.name} {reason}")
        start = time.perf_counter()
        how = context.parameters.get("multi_target", "pooled")
        if how not in ("pooled", "union"):
            raise UserError(f'multi_target is {how!r}: it must be "pooled" or "union"')
        own = {name: value for name, value in context.parameters.items() if name != "multi_target"}
        single = context.changed(parameters=own)
        found = self._union(single) if how == "union" else self.plugin.select(single)
        parameters = found.parameters | {"multi_target": how}
        return replace(found, parameters=parameters, requested=context.budget, seconds=time.perf_counter() - start)

    def _union(self, context: SelectionContext) -> Selection:
        targets = list(dict.fromkeys(context.targets))
        if not targets:
            raise UserError('multi_target is "union", but the target examples have no targets: name one for each')
        indices: list[int] = []
        reasons: list[dict[str, Any]] = []
        parameters: dict[str, Any] = {}
        shares = largest_remainder(context.budget, [1 / len(targets)] * len(targets))
        for target, share in zip(targets, shares, strict=True):
            if not share or len(indices) + len(context.excluded) == context.n:
                continue
            found = self.plugin.select(context.of_target(target, share, indices))
            indices += found.indices
            reasons += [{"target": target, **reason} for reason in found.reasons]
            parameters[target] = found.parameters
        return Selection(indices, reasons, {"by_target": parameters})


def names() -> list[str]:
    """Every method there is, without loading any."""
    return sorted(module.name for module in pkgutil.iter_modules(methods.__path__))


def method(name: str) -> Method:
    """The method called `name`.

    Raises:
        UserError: there is none; the message names those there are.
    """
    if name not in names():
        raise UserError(f"unknown selection method {name!r}: choose from {', '.join(names())}")
    return Method(importlib.import_module(f"{methods.__name__}.{name}").Method())

"""What a method may look at when it chooses from a pool: texts, gradient features, losses, embeddings.

Everything that can be seen to be wrong without reading the features is refused when the context is made; features are
checked as they are first read, before anything is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError
from encore.gradients import Store
from encore.selection.checks import check_features, check_texts
from encore.selection.selected import budget

Features = Store | Tensor | np.ndarray
"""[examples, dim]; a store is read in blocks, and never whole."""


@dataclass(kw_only=True)
class SelectionContext:
    """A pool, the targets it is to help, and the choices left open.

    Raises:
        UserError: an empty pool or no target; a target inside the pool; a duplicate in the pool; a fraction outside
            (0, 1]; a column with another number of rows than the examples; features of different projectors, models
            or widths.
    """

    pool_texts: Sequence[str]
    """Whole examples, prompt and response, in the order of every other column of the pool."""
    target_texts: Sequence[str]
    fraction: float
    seed: int = 0
    count: int | None = None
    """Number of examples to choose, in place of the fraction's: to compare methods at the count one of them reached."""
    pool_prompts: Sequence[str] | None = None
    """Instructions alone, for methods that compare those; absent: whole texts are compared."""
    target_prompts: Sequence[str] | None = None
    pool_features: Mapping[str, Sequence[Features]] = field(default_factory=dict)
    """By kind of gradient, "less_code" or "paper" (Adam's two readings) or "sgd"; one entry a checkpoint."""
    target_features: Mapping[str, Sequence[Features]] = field(default_factory=dict)
    """The same for the targets: "sgd"."""
    checkpoint_weights: Sequence[float] = ()
    """Average learning rate at each checkpoint, or any multiple; empty: equal weights."""
    subtasks: Sequence[str] = ()
    """Of each target example; empty: all are of one."""
    targets: Sequence[str] = ()
    """The target (benchmark) that each target example stands for; empty: all of one. See `registry.Method.select`."""
    pool_families: Sequence[str] | None = None
    """The kind of task that each pool example is of, where that is known: for a control that may know it."""
    target_families: Sequence[str] | None = None
    lengths: Sequence[int] | None = None
    """Tokens of each pool example."""
    losses: Float[Tensor, " examples"] | None = None
    """Mean loss of the response tokens of each pool example, in nats; perplexity is its exponential."""
    pool_representations: Features | None = None
    """Hidden states of the model for RDS, [examples, width]."""
    target_representations: Features | None = None
    embeddings: Callable[[Sequence[str]], Float[Tensor, "texts width"]] | None = None
    """Sentence embeddings; `encore.selection.embeddings` has one that needs no network."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The open choices of the method in question, by name; a name that it does not know is refused."""
    excluded: frozenset[int] = frozenset()
    """Places in the pool that are not to be chosen: taken for an earlier target."""

    def __post_init__(self) -> None:
        check_texts(self.pool_texts, self.target_texts)
        _ = self.budget
        for name in ("pool_prompts", "pool_families", "pool_representations", "lengths", "losses"):
            self._check_column(name, self.n)
        for name in ("target_prompts", "target_families", "target_representations", "subtasks", "targets"):
            self._check_column(name, len(self.target_texts))
        check_features(self.pool_features, self.target_features, self.n, len(self.target_texts))

    def _check_column(self, name: str, rows: int) -> None:
        column = getattr(self, name)
        if column is None or (name in ("subtasks", "targets") and not len(column)):
            return
        if len(column) != rows:
            raise UserError(f"{name} has {len(column)} rows for {rows} examples: it comes from other data")

    @property
    def n(self) -> int:
        """Number of examples in the pool."""
        return len(self.pool_texts)

    @property
    def budget(self) -> int:
        """Number of examples to choose."""
        of_fraction = budget(self.n, self.fraction)
        if self.count is None:
            return of_fraction
        if not 0 < self.count <= self.n:
            raise UserError(f"count is {self.count}: it must be from 1 to the pool's {self.n} examples")
        return self.count

    def missing(self, *names: str) -> str | None:
        """A reason to skip a method that needs the fields `names`, or None if all are there."""
        absent = [name.replace("_", " ") for name in names if getattr(self, name) is None]
        return f"needs {' and '.join(absent)}" if absent else None

    def choices(self, **defaults: Any) -> dict[str, Any]:
        """The method's open choices: `parameters` over `defaults`; a tuple lists what is allowed, its default first.

        Raises:
            UserError: a parameter that is not among them, or a value that is not allowed.
        """
        unknown = sorted(set(self.parameters) - set(defaults))
        if unknown:
            has = f"has {', '.join(defaults)}" if defaults else "has none"
            raise UserError(f"unknown selection parameter {unknown[0]!r}: this method {has}")
        found = {}
        for name, default in defaults.items():
            allowed = default if isinstance(default, tuple) else None
            found[name] = self.parameters.get(name, allowed[0] if allowed else default)
            if allowed and found[name] not in allowed:
                raise UserError(f"{name} is {found[name]!r}: it must be one of {', '.join(map(repr, allowed))}")
        return found

    @property
    def random(self) -> np.random.Generator:
        """A source of chance that begins anew at each access: a context chooses the same again."""
        return np.random.default_rng(self.seed)

    def changed(self, **fields: Any) -> SelectionContext:
        """The same context but for `fields`, not checked again: duplicates are looked for once."""
        other = copy(self)
        for name, value in fields.items():
            setattr(other, name, value)
        return other

    def of_target(self, name: str, count: int, excluded: Collection[int]) -> SelectionContext:
        """The same pool with the examples of one target only, to choose `count` from outside `excluded`."""
        places = [place for place, target in enumerate(self.targets) if target == name]

        def part(column: Any) -> Any:
            if column is None or not len(column):
                return column
            if isinstance(column, Store | Tensor | np.ndarray):
                return column[places]
            return [column[place] for place in places]

        return self.changed(
            target_texts=part(self.target_texts),
            target_prompts=part(self.target_prompts),
            target_families=part(self.target_families),
            target_features={kind: [part(one) for one in every] for kind, every in self.target_features.items()},
            target_representations=part(self.target_representations),
            subtasks=part(self.subtasks),
            targets=(),
            count=count,
            excluded=self.excluded | frozenset(excluded),
        )

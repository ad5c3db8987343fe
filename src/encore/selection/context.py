"""What a method may look at when it chooses from a pool: texts, gradient features, losses, embeddings.

Everything that can be seen to be wrong without reading the features is refused when the context is made; features are
checked as they are first read, before anything is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from encore.errors import UserError
from encore.gradients import Store
from encore.selection.selected import budget

Features = Store | Tensor | np.ndarray
"""[examples, dim]; a store is read in blocks, and never whole."""


@dataclass(kw_only=True)
class SelectionContext:
    """A pool, the targets it is to help, and the choices left open.

    Raises:
        UserError: an empty pool or no target; a target inside the pool; a duplicate in the pool; a fraction outside
            (0, 1]; a column with another number of rows than the examples; features of different projectors or widths.
    """

    pool_texts: Sequence[str]
    """Whole examples, prompt and response, in the order of every other column of the pool."""
    target_texts: Sequence[str]
    fraction: float
    seed: int = 0
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
    """The target (benchmark) that each target example stands for; empty: all of one. See `multi_target`."""
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
    """The open choices of the method in question, by name; a name it does not know is refused."""
    excluded: frozenset[int] = frozenset()
    """Places in the pool that are not to be chosen: taken for an earlier target."""

    def __post_init__(self) -> None:
        budget(max(len(self.pool_texts), 1), self.fraction if not 0 < self.fraction <= 1 else 1)

    @property
    def n(self) -> int:
        """Number of examples in the pool."""
        return len(self.pool_texts)

    @property
    def budget(self) -> int:
        """Number of examples to choose."""
        return budget(self.n, self.fraction)

    def missing(self, *fields: str) -> str | None:
        """A reason to skip a method that needs `fields`, or None if all are there."""
        absent = [
            name.replace("_", " ") for name in fields if getattr(self, name) is None or not len(getattr(self, name))
        ]
        return f"needs {' and '.join(absent)}" if absent else None

    @cached_property
    def random(self) -> np.random.Generator:
        """The method's own source of chance."""
        return np.random.default_rng(self.seed)

    def check_parameters(self, known: Sequence[str]) -> None:
        """Refuses a parameter that the method does not have."""
        unknown = sorted(set(self.parameters) - set(known))
        if unknown:
            raise UserError(f"unknown selection parameter {unknown[0]!r}: this method has {', '.join(known) or 'none'}")

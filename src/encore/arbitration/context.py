"""What an arm may look at when it splits a data set, each column loaded only if the arm asks for it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from encore.arbitration.concentration import concentration
from encore.errors import UserError

Column = Sequence[Any] | np.ndarray | Callable[[], Any]


class Context:
    """`n` examples, the arm's seed, the fraction that is to go to RL, and columns with one row an example.

    Args:
        n: number of examples.
        seed: of the arm; two runs of an arm that draws at random differ by it.
        rl_fraction: share of the examples for RL.
        columns: arrays, or functions that load them on first use: `norms` [n, matrices], `losses` [n] (nats a response
            token), `lengths` [n] (tokens), `task_types` [n] (names), `pass_rates` [n] (share of the base's episodes
            that won), and any other that an arm asks for. `matrix_sizes` [n, matrices] are entries of the matrices.

    Raises:
        UserError: `need` names a column that is not there, or that has another number of rows than `n`.
    """

    def __init__(self, n: int, seed: int = 0, rl_fraction: float = 0.5, columns: Mapping[str, Column] | None = None):
        self.n = n
        self.seed = seed
        self.rl_fraction = rl_fraction
        self._columns = dict(columns or {})
        self._loaded: dict[str, np.ndarray] = {}

    def missing(self, *names: str) -> str | None:
        """A reason to skip an arm that needs the columns `names`, or None if all are there."""
        absent = [name for name in names if self._columns.get(name) is None]
        return f"needs {' and '.join(absent)} of the examples" if absent else None

    def need(self, name: str) -> np.ndarray:
        """The column `name`, loaded once."""
        if name not in self._loaded:
            column = self._columns.get(name)
            if column is None:
                raise UserError(
                    f"the examples have no {name}; they have {', '.join(sorted(self._columns)) or 'no columns'}"
                )
            values = np.asarray(column() if callable(column) else column)
            if len(values) != self.n:
                raise UserError(f"{name} has {len(values)} rows for {self.n} examples: it comes from another data set")
            self._loaded[name] = values
        return self._loaded[name]

    @property
    def norms(self) -> Float[np.ndarray, "examples matrices"]:
        return self.need("norms")

    @property
    def losses(self) -> Float[np.ndarray, " examples"]:
        return self.need("losses")

    @property
    def lengths(self) -> Int[np.ndarray, " examples"]:
        return self.need("lengths")

    @property
    def task_types(self) -> np.ndarray:
        return self.need("task_types")

    @property
    def pass_rates(self) -> Float[np.ndarray, " examples"]:
        return self.need("pass_rates")

    @property
    def matrix_sizes(self) -> Int[np.ndarray, "examples matrices"]:
        """Entries of each matrix, the same in every row."""
        return self.need("matrix_sizes")

    def scores(self, metric: str = "gini") -> Float[np.ndarray, " examples"]:
        """Concentration of the examples' gradients."""
        return concentration(self.norms, metric)

    def with_fraction(self, rl_fraction: float) -> Context:
        """The same examples, with another share for RL."""
        other = copy.copy(self)  # what is loaded stays loaded for both
        other.rl_fraction = rl_fraction
        return other

    def generator(self, stream: str) -> np.random.Generator:
        """A source of chance, new at each call: the same numbers for the same seed and name of the stream."""
        digest = hashlib.blake2b(f"{self.seed} {stream}".encode(), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(digest, "little"))

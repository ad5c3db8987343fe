"""Several rewards over one batch, every value checked: what is missing or no number is named, never averaged away."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encore.errors import UserError
from encore.rewards.texts import text_of

Function = Callable[..., Sequence[float | None]]
SHOWN = 60  # characters of a prompt in an error


def score(
    functions: Sequence[Function],
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: Mapping[str, Any] | None = None,
    *,
    invalid: Literal["refuse", "drop"] = "refuse",
    group_size: int = 1,
) -> Float[Tensor, "batch K"]:
    """The value of each of K rewards for each response, float32, on the CPU.

    `refuse` raises UserError for a value that is None, NaN, infinite or no number, and where a function raises; the
    message names the reward and the example. `drop` makes them NaN, which marks the example as invalid: see `valid`.
    A function that raised is called again group by group (`group_size` neighbours), to find the examples that it fails
    on; if it fails on all, or on none alone, that is no matter of examples and is raised in both cases. So is a
    UserError of a function (an endpoint that is gone).

    Columns whose length is the batch's are cut with it; all others are given whole.

    Raises:
        UserError: as above; a function that returns another number of values; two functions of one name; prompts and
            completions, or groups, that do not match.
    """
    names = [name_of(function) for function in functions]
    if len(set(names)) < len(names):
        raise UserError(f"rewards {', '.join(names)}: each must have a name of its own, in `__name__`")
    if len(prompts) != len(completions) or group_size < 1 or len(prompts) % group_size:
        raise UserError(
            f"{len(prompts)} prompts and {len(completions)} completions in groups of {group_size}: give one prompt a "
            "completion, in whole groups"
        )
    batch = _Batch(list(prompts), list(completions), dict(columns or {}), group_size, invalid == "drop")
    result = torch.full((len(prompts), len(names)), math.nan)
    for place, (name, function) in enumerate(zip(names, functions, strict=True)):
        if prompts:
            result[:, place] = torch.tensor(batch.call(name, function), dtype=torch.float32)
    return result


def valid(rewards: Float[Tensor, "batch K"]) -> Bool[Tensor, " batch"]:
    """True for examples of which every reward is known."""
    return torch.isfinite(rewards).all(dim=1)


def name_of(function: Function) -> str:
    """Where TRL looks for it too."""
    return str(getattr(function, "__name__", type(function).__name__))


class _Batch:
    def __init__(
        self, prompts: list[Any], completions: list[Any], columns: dict[str, Any], group_size: int, drop: bool
    ) -> None:
        self.prompts, self.completions, self.columns = prompts, completions, columns
        self.group_size, self.drop = group_size, drop

    def call(self, name: str, function: Function) -> list[float]:
        everything = range(len(self.prompts))
        try:
            values = self._values(name, function, everything)
        except UserError:
            raise
        except Exception as error:
            values = self._one_by_one(name, function, error)
        return [self._checked(name, place, value) for place, value in enumerate(values)]

    def _one_by_one(self, name: str, function: Function, first: Exception) -> list[float | None]:
        values: list[float | None] = []
        failures = 0
        for start in range(0, len(self.prompts), self.group_size):
            places = range(start, start + self.group_size)
            try:
                values += self._values(name, function, places)
            except UserError:
                raise
            except Exception as error:
                if not self.drop:
                    raise self._failed(name, self._where(start), error) from error
                failures += 1
                values += [None] * self.group_size
        if not failures:
            raise self._failed(name, f"all {len(self.prompts)} examples together, but on none alone", first) from first
        if failures * self.group_size == len(self.prompts):
            # Nothing of the batch is left: that is a broken function, not bad examples.
            raise self._failed(name, "every example", first) from first
        return values

    def _values(self, name: str, function: Function, places: range) -> list[float | None]:
        columns = {key: self._cut(value, places) for key, value in self.columns.items()}
        values = list(
            function(
                prompts=[self.prompts[place] for place in places],
                completions=[self.completions[place] for place in places],
                **columns,
            )
        )
        if len(values) != len(places):
            raise UserError(
                f"reward '{name}' returned {len(values)} values for {len(places)} responses: it must return one for "
                "each, in their order"
            )
        return values

    def _cut(self, column: Any, places: range) -> Any:
        if isinstance(column, list | tuple | Tensor) and len(column) == len(self.prompts):
            return column[places.start : places.stop]
        return column

    def _checked(self, name: str, place: int, value: Any) -> float:
        try:
            number = math.nan if value is None else float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            if self.drop:
                return math.nan
            raise UserError(
                f"reward '{name}' returned {value!r} for {self._where(place)}: return a float or None"
            ) from error
        if math.isfinite(number) and abs(number) <= torch.finfo(torch.float32).max:
            return number
        if self.drop:
            return math.nan
        raise UserError(
            f"reward '{name}' gave {value} for {self._where(place)}: give every response a finite number, or have such "
            "responses dropped"
        )

    def _where(self, place: int) -> str:
        prompt = self.prompts[place]
        shown = " ".join((prompt if isinstance(prompt, str) else text_of(prompt)).split())
        return f"example {place} ('{shown if len(shown) <= SHOWN else shown[:SHOWN] + '…'}')"

    @staticmethod
    def _failed(name: str, where: str, error: Exception) -> UserError:
        said = " ".join(str(error).split()) or "no message"
        return UserError(
            f"reward '{name}' failed on {where} ({type(error).__name__}: {said}): correct it, or leave it out"
        )
